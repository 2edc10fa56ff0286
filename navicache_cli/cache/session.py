"""A session accompanies generations: it follows steps and branches, keeps tensors, and logs decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from navicache_cli.cache.policy import Features, Policy, check_count
from navicache_cli.cache.predictor import Predictor, ResidualReuse
from navicache_cli.cache.record import StepLog, StepRecord
from navicache_cli.cache.recorder import Recorder
from navicache_cli.cache.tensors import (
    Agree,
    Tensors,
    mean_abs,
    mean_abs_difference,
    read_numbers,
    same_layout,
    size_in_bytes,
    snapshot,
    timestep_number,
)
from navicache_cli.cache.timing import CallTimer
from navicache_cli.cache.tracker import Arrival, StepTracker
from navicache_cli.errors import SiteError


@dataclass
class _Kept:
    """x_c and y_c of one branch, computed at `step`."""

    step: int
    inputs: Tensors
    outputs: Tensors


@dataclass
class _Call:
    """A call whose original forward is running. The tensors are empty where nothing is to be kept."""

    timer: CallTimer
    shapes: list[tuple[int, ...]]
    inputs: Tensors = ()
    previous_outputs: Tensors = ()
    input_span: torch.Tensor | None = None


class Session:
    """Everything that belongs to a generation. It starts empty, and again empty for the next one.

    A new generation is noticed when the timesteps turn round, when a new one comes after the last
    step, after a forward that raised, and after `finish` or `clear`; `begin` says so outright.

    The device is waited for once a step: the timestep is read together with all that was measured. A
    second branch that passes the same timestep tensor costs no read; one that passes a copy of it, or
    an inference tensor (whose changes leave no trace), costs another.

    Args:
        policy: decides; it belongs to this session alone.
        total_steps: N, the sampler's number of steps.
        predictor: rebuilds the outputs of skipped steps.
        on_step: called with each step's record when that step is over.
        agree: where several processes run one generation together, makes a vector of measured numbers, in
            place, what it is on the first of them, so that all decide alike; None for one process.
        recorder: measures every step against all others; for a policy that computes every step.

    Attributes:
        attached: a site runs under this session now.
        transformer_calls: how often the original forward ran in this generation.
        transformer_calls_saved: how often its output was predicted.
        peak_cache_bytes: the most `cache_bytes` has been in this generation.

    Raises:
        UsageError: `total_steps` is not a whole number of at least 1.
    """

    def __init__(
        self,
        policy: Policy,
        total_steps: int,
        predictor: Predictor | None = None,
        on_step: Callable[[StepRecord], None] | None = None,
        agree: Agree | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.policy = policy
        self.recorder = recorder
        self.predictor = predictor or ResidualReuse()
        self.attached = False
        self._on_step = on_step
        self._agree = agree
        self._tracker = StepTracker()
        self.begin(total_steps)

    def begin(self, total_steps: int) -> None:
        """Start a new generation of `total_steps` steps, with nothing kept of any other.

        Raises:
            UsageError: `total_steps` is not a whole number of at least 1.
        """
        check_count(total_steps, "total_steps", 1, hint="pass the number of steps the sampler will take")
        self.clear()
        if self.recorder is not None:
            self.recorder.begin()
        self._over = False
        self.total_steps = total_steps
        self.policy.begin(total_steps)
        self._tracker.begin(total_steps)
        self._log = StepLog(self._on_step)
        self.transformer_calls = 0
        self.transformer_calls_saved = 0
        self.peak_cache_bytes = 0

    def clear(self) -> None:
        """Drop every tensor kept. Records and counts stay; the next call starts a new generation."""
        self._over = True
        # True from the start of a call to its end: still true at the next start if the call raised.
        self._in_call = False
        self._call: _Call | None = None
        self._branch = 0
        self._branches: dict[int, _Kept] = {}
        self._computed_step = -1
        # x_{i−1} of the first branch.
        self._previous: Tensors = ()
        # Measured at the last computed step, still on the device: [input_span, output_span,] output_norm.
        self._pending: list[torch.Tensor] = []
        # The timestep tensor read last and its version. Holding it keeps its identity from being reused.
        self._seen: tuple[torch.Tensor, int] | None = None
        if self.recorder is not None:
            self.recorder.clear()

    def finish(self) -> None:
        """Complete the records, waiting for the device; the next call starts a new generation."""
        self._settle(read_numbers(self._pending, self._agree))
        self._log.close(wait=True)
        if self.recorder is not None:
            self.recorder.finish()
        self._over = True

    @property
    def records(self) -> list[StepRecord]:
        """One record for each step of the current generation; a new list for each generation."""
        return self._log.records

    @property
    def reads_outputs(self) -> bool:
        """Whether `leave` needs what the original returned."""
        return self.policy.caches or self.recorder is not None

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors kept now, each counted once."""
        groups = [self._previous]
        for kept in self._branches.values():
            groups += [kept.inputs, kept.outputs]
        if self._call is not None:
            groups += [self._call.inputs, self._call.previous_outputs]
        recorded = 0 if self.recorder is None else self.recorder.cache_bytes
        return size_in_bytes(groups) + recorded

    def enter(self, timestep: float | torch.Tensor, inputs: Tensors) -> Tensors | None:
        """A call of the cached region starts.

        Args:
            timestep: a number, or a tensor of any shape.
            inputs: x_i of this branch, at least one tensor.

        Returns:
            The predicted outputs, and the call is over; or None: run the original, then call `leave`.
        """
        timer = CallTimer(inputs[0].device)
        if self._over or self._in_call:
            self.begin(self.total_steps)
        self._in_call = True
        self._arrive(timestep, inputs)
        if self.records[-1].computed or not self._can_reuse(inputs):
            self._open_call(timer, inputs)
            return None
        kept = self._branches[self._branch]
        outputs = self.predictor.predict(inputs, kept.inputs, kept.outputs)
        if self._branch == 0:
            self._previous = ()
            self._previous = snapshot(inputs)
        self.transformer_calls_saved += 1
        self._close_call(timer)
        return outputs

    def leave(self, outputs: Tensors) -> None:
        """The call entered last has run the original, which returned `outputs` (see `reads_outputs`).

        Raises:
            SiteError: the outputs' shapes are not those of the inputs.
        """
        call = self._call
        assert call is not None, "leave() without an enter() that returned None"
        if self.policy.caches:
            self._keep(call, outputs)
        if self.recorder is not None and self._branch == 0:
            self.recorder.leave(outputs)
        self._call = None
        self.transformer_calls += 1
        self._close_call(call.timer)

    def _arrive(self, timestep: float | torch.Tensor, inputs: Tensors) -> None:
        """Find this call's step and branch; if it is the step's first, decide."""
        if self._is_seen(timestep):
            self._branch += 1
            return
        value = timestep_number(timestep)
        if isinstance(value, float) and self._tracker.classify(value) is Arrival.SAME_STEP:
            self._branch += 1
            return

        # If reading the timestep means waiting, measure first and wait once, even if it then turns out
        # that the step is still the same.
        comparable = same_layout(inputs, self._previous)
        change = [mean_abs_difference(inputs, self._previous)] if comparable else []
        deferred = [] if isinstance(value, float) else [value]
        numbers = read_numbers([*deferred, *self._pending, *change], self._agree)
        if not isinstance(value, float):
            value = numbers.pop(0)
        input_change = numbers.pop() if change else None
        self._settle(numbers)

        arrival = self._tracker.classify(value)
        if arrival is Arrival.NEW_GENERATION:
            self.finish()
            self.begin(self.total_steps)
            self._in_call, input_change = True, None
        elif arrival is Arrival.NEW_STEP and self._previous and not comparable:
            # Another resolution: nothing kept or learnt applies.
            self.policy.begin(self.total_steps)
            self._branches.clear()
        if isinstance(timestep, torch.Tensor) and deferred:
            self._seen = None if timestep.is_inference() else (timestep, timestep._version)
        if arrival is Arrival.SAME_STEP:
            self._branch += 1
        else:
            self._start_step(value, input_change)

    def _is_seen(self, timestep: float | torch.Tensor) -> bool:
        """Whether `timestep` is the very tensor read last, unchanged, so that no read is needed."""
        return (
            self._seen is not None and timestep is self._seen[0] and self._seen[0]._version == self._seen[1]
        )

    def _can_reuse(self, inputs: Tensors) -> bool:
        """Whether this branch took part in the last computed step, or was computed since, on such inputs."""
        kept = self._branches.get(self._branch)
        return kept is not None and kept.step >= self._computed_step and same_layout(inputs, kept.inputs)

    def _start_step(self, timestep: float, input_change: float | None) -> None:
        self._log.close()
        self._tracker.advance(timestep)
        self._branch = 0
        decision = self.policy.decide(self._tracker.index, input_change)
        if not decision.compute and 0 not in self._branches:
            # Nothing to predict from, whatever the policy says.
            decision = replace(decision, compute=True)
        record = StepRecord.start(self._tracker.index, timestep, decision, Features(input_change))
        self._log.start(record)

    def _open_call(self, timer: CallTimer, inputs: Tensors) -> None:
        """Prepare to compute: free what this branch will not need, keep what it will."""
        self._call = call = _Call(timer, [tuple(a.shape) for a in inputs])
        if self.recorder is not None and self._branch == 0:
            self.recorder.enter(inputs)
        if not self.policy.caches:
            return
        kept = self._branches.pop(self._branch, None)
        if self._branch == 0 and kept is not None:
            call.input_span = mean_abs_difference(inputs, kept.inputs)
            call.previous_outputs = kept.outputs
        if self._branch == 0:
            self._previous = ()
        del kept
        # After the last step nothing is predicted. Copied now, as the forward may write into its input.
        if not self._is_last_step():
            call.inputs = snapshot(inputs)
        if self._branch == 0:
            self._previous = call.inputs
        self.peak_cache_bytes = max(self.peak_cache_bytes, self.cache_bytes)

    def _keep(self, call: _Call, outputs: Tensors) -> None:
        """Measure on the first branch, then keep what predictions need."""
        shapes = [tuple(a.shape) for a in outputs]
        if shapes != call.shapes:
            raise SiteError(
                f"expected outputs of the inputs' shapes, {call.shapes}, to reuse their difference; "
                f"found {shapes}",
                hint="attach to the stack of blocks inside this model, or use the method 'off'",
            )
        if self._branch == 0:
            self._pending = [mean_abs(outputs)]
            if call.input_span is not None:
                span = mean_abs_difference(outputs, call.previous_outputs)
                self._pending = [call.input_span, span, *self._pending]
            self._computed_step = self._tracker.index
        call.previous_outputs = ()
        if not self._is_last_step():
            self._branches[self._branch] = _Kept(self._tracker.index, call.inputs, snapshot(outputs))

    def _settle(self, numbers: list[float]) -> None:
        """Hand the policy what the last computed step measured."""
        if not numbers:
            return
        *spans, output_norm = numbers
        input_span, output_span = spans or (None, None)
        record = self.records[-1]
        record.features = replace(
            record.features, input_span=input_span, output_span=output_span, output_norm=output_norm
        )
        record.innovation = self.policy.observe(record.index, input_span, output_span, output_norm)
        self._pending = []

    def _close_call(self, timer: CallTimer) -> None:
        self._in_call = False
        self.peak_cache_bytes = max(self.peak_cache_bytes, self.cache_bytes)
        timer.stop()
        self._log.add(timer)

    def _is_last_step(self) -> bool:
        return self._tracker.index == self.total_steps - 1
