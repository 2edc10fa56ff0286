"""A session accompanies generations: it follows steps and branches, keeps tensors, and logs decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from navicache_cli.cache.policies.policy import (
    Features,
    Measure,
    Policy,
    Region,
    Signal,
    check_count,
    measure_of,
    region_of,
)
from navicache_cli.cache.predictors.predictor import Keep, Kept, predictor_for
from navicache_cli.cache.recording.recorder import Recorder
from navicache_cli.cache.session.error_estimate import Outlook
from navicache_cli.cache.session.memory import AnyPredictor, BranchMemory
from navicache_cli.cache.session.parts import PartStore
from navicache_cli.cache.session.record import StepLog, StepRecord
from navicache_cli.cache.session.signals import SignalSource, SignalWatch
from navicache_cli.cache.session.timing import CallTimer
from navicache_cli.cache.session.tracker import Arrival, StepTracker
from navicache_cli.cache.tensors import (
    Agree,
    Tensors,
    difference,
    magnitude_ratio,
    mean_abs,
    mean_abs_difference,
    read_numbers,
    size_in_bytes,
    snapshot,
    timestep_number,
)
from navicache_cli.errors import SiteError, UsageError


@dataclass
class _Call:
    """A call whose original forward is running. The tensors are empty where nothing is to be kept.

    `previous_outputs` is what the branch kept before, to measure against: y_c, or its residual.
    """

    timer: CallTimer
    shapes: list[tuple[int, ...]]
    inputs: Tensors = ()
    previous_outputs: Tensors = ()
    input_span: torch.Tensor | None = None
    input_norm: torch.Tensor | None = None


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
        predictor: rebuilds the outputs of skipped steps; if left out, the one the policy is published with.
        on_step: called with each step's record when that step is over.
        agree: where several processes run one generation together, makes a vector of measured numbers, in
            place, what it is on the first of them, so that all decide alike; None for one process.
        recorder: measures every step against all others; for a policy that computes every step.
        max_error: the predicted relative error of the final latents beyond which nothing is skipped, or None.

    Attributes:
        attached: a site runs under this session now.
        transformer_calls: how often the original forward ran in this generation.
        transformer_calls_saved: how often its output was predicted.
        parts: outputs of parts of the model that are used again at computed steps, and how often they were.
        peak_cache_bytes: the most `cache_bytes` has been in this generation.
        input_bytes: size of one branch's inputs, x, at the last call.
        outlook: foretells how far off the final latents will be.

    Raises:
        UsageError: `total_steps` is not a whole number of at least 1, `max_error` is not above 0, or no error
            is foretold of this policy and predictor to hold against it.
    """

    def __init__(
        self,
        policy: Policy,
        total_steps: int,
        predictor: AnyPredictor | None = None,
        on_step: Callable[[StepRecord], None] | None = None,
        agree: Agree | None = None,
        recorder: Recorder | None = None,
        max_error: float | None = None,
    ) -> None:
        self.policy = policy
        self.recorder = recorder
        self._measure = measure_of(policy)
        self.predictor = predictor or predictor_for(policy, self._measure)
        self._memory = BranchMemory(self.predictor)
        self._signal = SignalWatch(policy)
        # Where all is computed there is no error. Of others' methods nothing is measured to foretell one by.
        by_input = self._measure is Measure.CHANGES and self._signal.kind is Signal.INPUT
        exact = not policy.caches and region_of(policy) is not Region.ATTENTION
        self.outlook = Outlook(self.predictor.name if by_input or exact else "", max_error)
        if max_error is not None and self.outlook.withheld:
            raise UsageError(
                "max_error expects a method and a predictor whose error is foretold, found "
                f"{policy.name} with {self.predictor.name}",
                hint="use navicache or easycache with residual, hold or calibrated, or leave max_error out",
            )
        self.parts = PartStore()
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
        self.outlook.begin()
        self._tracker.begin(total_steps)
        self._log = StepLog(self._on_step)
        self.transformer_calls = 0
        self.transformer_calls_saved = 0
        self.parts = PartStore()
        self.peak_cache_bytes = 0
        self.input_bytes = 0

    def clear(self) -> None:
        """Drop every tensor kept. Records and counts stay; the next call starts a new generation."""
        self._over = True
        # True from the start of a call to its end: still true at the next start if the call raised.
        self._in_call = False
        self._call: _Call | None = None
        self._branch = 0
        self._memory.clear()
        self._signal.previous = ()
        self.parts.clear()
        # Measured at the last computed step, still on the device; by the names in `Features`.
        self._pending: dict[str, torch.Tensor] = {}
        # The timestep tensor read last and its version. Holding it keeps its identity from being reused.
        self._seen: tuple[torch.Tensor, int] | None = None
        if self.recorder is not None:
            self.recorder.clear()

    def finish(self) -> None:
        """Complete the records, waiting for the device; the next call starts a new generation."""
        self._settle(read_numbers([*self._pending.values(), *self._memory.pending], self._agree))
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
        groups = [self._signal.previous, self.parts.tensors, *self._memory.tensors()]
        if self._call is not None:
            groups += [self._call.inputs, self._call.previous_outputs]
        recorded = 0 if self.recorder is None else self.recorder.cache_bytes
        return size_in_bytes(groups) + recorded

    def enter(
        self, timestep: float | torch.Tensor, inputs: Tensors, source: SignalSource | None = None
    ) -> Tensors | None:
        """A call of the cached region starts.

        Args:
            timestep: a number, or a tensor of any shape.
            inputs: x_i of this branch, at least one tensor.
            source: gives what a policy decides by that looks at something else than the inputs.

        Returns:
            The predicted outputs, and the call is over; or None: run the original, then call `leave`.

        Raises:
            SiteError: the policy needs a source, and the site has none.
        """
        timer = CallTimer(inputs[0].device)
        if self._over or self._in_call:
            self.begin(self.total_steps)
        self._in_call = True
        self._arrive(timestep, inputs, source)
        self.input_bytes = size_in_bytes([inputs])
        if self.records[-1].computed or not self._memory.can_predict(self._branch, inputs):
            self._open_call(timer, inputs)
            return None
        now, before = self.records[-1].timestep, self.records[-2].timestep
        outputs = self._memory.predict(self._branch, self._tracker.index, now, now - before, inputs)
        if self._branch == 0 and self._signal.follows_inputs:
            self._signal.previous = ()
            self._signal.previous = snapshot(inputs)
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

    def recall(self, part: int, kind: str, like: torch.Tensor) -> torch.Tensor | None:
        """The output of a part of the model to use again, or None: run the part, then call `part_ran`.

        Args:
            part: its number.
            kind: whether this step uses it again is decided for all of a kind.
            like: a tensor of its output's shape.
        """
        if self._call is None or kind not in self.records[-1].reused:
            return None
        return self.parts.recall(part, self._branch, like)

    def part_ran(self, part: int, output: torch.Tensor) -> None:
        """The part has run and returned `output`."""
        if self._call is not None:
            self.parts.ran(part, self._branch, output, keep=not self._is_last_step())

    def _arrive(self, timestep: float | torch.Tensor, inputs: Tensors, source: SignalSource | None) -> None:
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
        current = self._signal.current(inputs, source)
        change = self._signal.change(current)
        deferred = [] if isinstance(value, float) else [value]
        waiting = [*deferred, *self._pending.values(), *self._memory.pending, *change]
        numbers = read_numbers(waiting, self._agree)
        if not isinstance(value, float):
            value = numbers.pop(0)
        signal = numbers.pop() if change else None
        self._settle(numbers)

        arrival = self._tracker.classify(value)
        if arrival is Arrival.NEW_GENERATION:
            self.finish()
            self.begin(self.total_steps)
            self._in_call, signal = True, None
        elif arrival is Arrival.NEW_STEP and self._memory.is_other_shape(inputs):
            # Another resolution: nothing kept or learnt applies.
            self.policy.begin(self.total_steps)
            self.outlook.lose()
            self._memory.clear()
            signal = None
        if isinstance(timestep, torch.Tensor) and deferred:
            self._seen = None if timestep.is_inference() else (timestep, timestep._version)
        if arrival is Arrival.SAME_STEP:
            self._branch += 1
        else:
            self._start_step(value, signal)
            self._signal.remember(current, computed=self.records[-1].computed)

    def _is_seen(self, timestep: float | torch.Tensor) -> bool:
        """Whether `timestep` is the very tensor read last, unchanged, so that no read is needed."""
        return (
            self._seen is not None and timestep is self._seen[0] and self._seen[0]._version == self._seen[1]
        )

    def _start_step(self, timestep: float, signal: float | None) -> None:
        self._log.close()
        self._tracker.advance(timestep)
        self._branch = 0
        kind = self._signal.kind
        decision = self.policy.decide(self._tracker.index, timestep if kind is Signal.TIMESTEP else signal)
        if not decision.compute and not self._memory.has(0):
            # Nothing to predict from, whatever the policy says.
            decision = replace(decision, compute=True)
        decision = self.outlook.step(timestep, signal, decision)
        features = Features(input_change=signal) if kind is Signal.INPUT else Features(signal=signal)
        record = StepRecord.start(self._tracker.index, timestep, decision, features)
        record.fit = self._memory.fit()
        record.predicted_error = self.outlook.error
        self._log.start(record)

    def _open_call(self, timer: CallTimer, inputs: Tensors) -> None:
        """Prepare to compute: free what this branch will not need, keep what it will."""
        self._call = call = _Call(timer, [tuple(a.shape) for a in inputs])
        if self.recorder is not None and self._branch == 0:
            self.recorder.enter(inputs)
        if not self.policy.caches:
            return
        kept = self._memory.release(self._branch)
        first = self._branch == 0
        if first and kept is not None and self._measure is not Measure.NOTHING:
            call.previous_outputs = kept.outputs
            if self._measure is Measure.CHANGES:
                call.input_span = mean_abs_difference(inputs, kept.inputs)
        del kept
        if first and self._measure is Measure.CHANGES:
            call.input_norm = mean_abs(inputs)
        if first and self._signal.follows_inputs:
            self._signal.previous = ()
        # Copied now, as the forward may write into its input.
        if self._needs_inputs():
            call.inputs = snapshot(inputs)
        if first and self._signal.follows_inputs:
            self._signal.previous = call.inputs
        self.peak_cache_bytes = max(self.peak_cache_bytes, self.cache_bytes)

    def _needs_inputs(self) -> bool:
        """Whether x of the call that starts will be needed: after the last step nothing is predicted."""
        if self._is_last_step():
            return self._measure is Measure.RESIDUAL
        return self._memory.keep_what is not Keep.OUTPUTS or self._measure is Measure.CHANGES

    def _keep(self, call: _Call, outputs: Tensors) -> None:
        """Measure on the first branch, then keep what predictions need."""
        shapes = [tuple(a.shape) for a in outputs]
        if shapes != call.shapes:
            raise SiteError(
                f"expected outputs of the inputs' shapes, {call.shapes}, to reuse their difference; "
                f"found {shapes}",
                hint="attach to the stack of blocks inside this model, or use the method 'off'",
            )
        by_residual = self._memory.keep_what is Keep.RESIDUAL and bool(call.inputs)
        kept = difference(outputs, call.inputs) if by_residual else outputs
        if self._branch == 0:
            self._pending = self._measurements(call, kept)
            self._memory.computed(self._tracker.index)
        call.previous_outputs = ()
        if self._is_last_step():
            return
        timestep = self.records[-1].timestep
        self._memory.study(self._branch, self._tracker.index, timestep, outputs)
        if by_residual:
            call.inputs = ()
        else:
            kept = snapshot(outputs)
        self._memory.keep(self._branch, Kept(self._tracker.index, call.inputs, kept, timestep))

    def _measurements(self, call: _Call, kept: Tensors) -> dict[str, torch.Tensor]:
        """What is measured on the first branch of a computed step; `kept` is y, or the residual."""
        if self._measure is Measure.RESIDUAL:
            before = call.previous_outputs
            return {"residual_ratio": magnitude_ratio(kept, before)} if before else {}
        if self._measure is Measure.NOTHING:
            return {}
        found = {"output_norm": mean_abs(kept)}
        if call.input_norm is not None:
            found["input_norm"] = call.input_norm
        if call.input_span is not None:
            found["input_span"] = call.input_span
            found["output_span"] = mean_abs_difference(kept, call.previous_outputs)
        return found

    def _settle(self, numbers: list[float]) -> None:
        """Hand the policy, and a predictor that learns, what the last computed step measured."""
        names, self._pending = list(self._pending), {}
        self._memory.learn(numbers[len(names) :])
        if not names:
            return
        record = self.records[-1]
        found = dict(zip(names, numbers, strict=False))
        record.features = features = replace(record.features, **found)
        if features.output_norm is None:
            return
        self.outlook.computed(record.timestep, features, self._memory.fit())
        record.innovation = self.policy.observe(
            record.index, features.input_span, features.output_span, features.output_norm
        )

    def _close_call(self, timer: CallTimer) -> None:
        self._in_call = False
        self.peak_cache_bytes = max(self.peak_cache_bytes, self.cache_bytes)
        timer.stop()
        self._log.add(timer)

    def _is_last_step(self) -> bool:
        return self._tracker.index == self.total_steps - 1
