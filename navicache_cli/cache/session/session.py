"""A session accompanies generations: it follows steps and branches, keeps tensors, and logs decisions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager

import torch

from navicache_cli.cache.policies.policy import Policy, check_count
from navicache_cli.cache.predictors.factory import maker_of
from navicache_cli.cache.predictors.predictor import MakePredictor
from navicache_cli.cache.recording.recorder import Records
from navicache_cli.cache.session.computed_call import ComputedCall
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.error_estimate import estimate_for
from navicache_cli.cache.session.memory import Branches
from navicache_cli.cache.session.record import StepRecord
from navicache_cli.cache.session.signals import SignalSource
from navicache_cli.cache.session.skipped_call import predicted_outputs
from navicache_cli.cache.session.steps import Steps
from navicache_cli.cache.session.timing import CallTimer
from navicache_cli.cache.session.tracker import Arrival
from navicache_cli.cache.tensors import Agree, Tensors, size_in_bytes


class Session:
    """Everything that belongs to a generation. It starts empty, and again empty for the next one.

    Whoever knows the step or the branch of the calls says so by `step` and `branch`; then neither is
    inferred. Otherwise a new generation is noticed when the timesteps turn round, after a forward that
    raised, and after `finish` or `clear`; `begin` says so outright.

    The device is waited for once per step: the timestep is read together with all that was measured.

    Args:
        policy: decides; it belongs to this session alone.
        total_steps: N, the sampler's number of steps.
        predictor: makes what rebuilds the outputs of skipped steps, one for each branch; if left out, the one
            the policy names.
        on_step: called with each step's record when that step is over.
        agree: where several processes run one generation together, makes a vector of measured numbers, in
            place, what it is on the first of them, so that all decide alike; None for one process.
        recorder: is told of every computed call; for a policy that computes every step.
        max_error: the predicted relative error of the final latents beyond which nothing is skipped, or None.
        on_end: called when a generation makes room for the next one, its records still there.

    Attributes:
        attached: a site runs under this session now.
        computing: the call whose original runs now, or None.
        transformer_calls: how often the original forward ran in this generation.
        transformer_calls_saved: how often its output was predicted.
        parts: outputs of parts of the model that are used again at computed steps, and how often they were.
        peak_cache_bytes: the most `cache_bytes` has been in this generation.
        input_bytes: size of the first branch's inputs, x, at the last step.
        error_estimate: predicts how far off the final latents will be.

    Raises:
        UsageError: `total_steps` is not a whole number of at least 1, `max_error` is not above 0, or no error
            is predicted for this policy and predictor to hold against it.
    """

    def __init__(
        self,
        policy: Policy,
        total_steps: int,
        predictor: MakePredictor | None = None,
        on_step: Callable[[StepRecord], None] | None = None,
        agree: Agree | None = None,
        recorder: Records | None = None,
        max_error: float | None = None,
        on_end: Callable[[Session], None] | None = None,
    ) -> None:
        self.policy = policy
        self.recorder = recorder
        branches = Branches(predictor or maker_of(policy.predictor))
        self.error_estimate = estimate_for(policy, branches.make().predictor.name, max_error)
        self._read = DeviceRead(agree)
        self._steps = Steps(policy, branches, self.error_estimate, self._read, on_step)
        self.attached = False
        self._on_end = on_end
        self.begin(total_steps)

    def begin(self, total_steps: int) -> None:
        """Start a new generation of `total_steps` steps, with nothing kept of any other.

        Raises:
            UsageError: `total_steps` is not a whole number of at least 1.
        """
        check_count(total_steps, "total_steps", 1, hint="pass the number of steps the sampler will take")
        if self._on_end is not None and self.records:
            self._steps.log.close(wait=True)
            self._on_end(self)
        self.clear()
        if self.recorder is not None:
            self.recorder.begin()
        self._over = False
        self.total_steps = total_steps
        self._steps.begin(total_steps)
        self.transformer_calls = self.transformer_calls_saved = 0
        self.parts = self._steps.parts
        self.peak_cache_bytes = self.input_bytes = 0

    def clear(self) -> None:
        """Drop every tensor kept. Records and counts stay; the next call starts a new generation."""
        self._over = True
        # True from the start of a call to its end: still true at the next start if the call raised.
        self._in_call = False
        self.computing: ComputedCall | None = None
        self._steps.clear()
        self._read.clear()
        if self.recorder is not None:
            self.recorder.clear()

    def release(self) -> None:
        """Drop every tensor kept if the last step has begun, as a decoder needs the memory.

        Unlike `clear` it leaves it to `finish` to read what was measured: there processes exchange it, and
        some of them may not decode.
        """
        if self._steps.is_last:
            self._steps.release()
            if self.recorder is not None:
                self.recorder.finish()

    def finish(self) -> None:
        """Complete the records, waiting for the device; the next call starts a new generation."""
        self._read.now()
        self._steps.log.close(wait=True)
        if self.recorder is not None:
            self.recorder.finish()
        self._over = True

    @property
    def guidance(self) -> float | None:
        """The scale by which the sampler combines the two branches of a step, u + g (c − u), if it is known.

        Then what predictions miss is measured of the combination; see `GuidedPair`. The first branch has the
        prompt, unless it has a name that says otherwise.
        """
        return self._steps.pair.scale

    @guidance.setter
    def guidance(self, scale: float | None) -> None:
        self._steps.pair.scale = None if scale is None or scale == 1 else float(scale)

    @property
    def records(self) -> list[StepRecord]:
        """One record for each step of the current generation; a new list for each generation."""
        return self._steps.log.records

    @property
    def reads_outputs(self) -> bool:
        """Whether `leave` needs what the original returned."""
        return self.policy.caches or self.recorder is not None

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors kept now, each counted once."""
        groups = self._steps.tensors + ([] if self.computing is None else self.computing.tensors)
        recorded = 0 if self.recorder is None else self.recorder.cache_bytes
        return size_in_bytes(groups) + recorded

    def step(self, index: int, time: float | None = None) -> None:
        """Say that the calls that follow belong to step `index`, whatever timestep they carry.

        Step 0 after a later one starts a new generation; a step may be left out, and told again.

        Args:
            index: 0 to total_steps - 1.
            time: t_i, in the sampler's own units, which only rise or only fall; left out, steps are even.

        Raises:
            UsageError: there is no such step, it lies before the present one, or was told of another time.
        """
        told = self._steps.told.index
        inferred = told is None and bool(self.records)  # of another generation: none is told by halves
        if self._over or inferred or (index == 0 and told):
            self.begin(self.total_steps)
        self._steps.told.step(index, time)

    def branch(self, *names: Hashable) -> AbstractContextManager[None]:
        """Say that the calls within belong to a branch of this name: of the guidance, or a window of frames.

        What is kept of a branch serves its own calls alone. Unnamed branches are told by the order of calls.
        """
        return self._steps.told.branch(*names)

    def enter(
        self,
        timestep: float | torch.Tensor | None,
        inputs: Tensors,
        source: SignalSource | None = None,
        *,
        model: str = "",
        compute: bool = False,
        timer: CallTimer | None = None,
    ) -> Tensors | None:
        """A call of the cached region starts.

        Args:
            timestep: a number, or a tensor of any shape; not looked at where the step is told.
            inputs: x_i of this branch, at least one tensor.
            source: gives what a policy decides by that looks at something else than the inputs.
            model: which of several models is called, where one session serves several.
            compute: the original has to run, as the form to return a prediction in is not known.
            timer: of the call, if it started earlier.

        Returns:
            The predicted outputs, and the call is over; or None: run the original, then call `leave`.

        Raises:
            SiteError: the policy needs a source and the site has none, or a timestep follows the last one.
            UsageError: a branch that has a name is called again in the same step.
        """
        timer = timer or CallTimer(inputs[0].device)
        if self._in_call and self._steps.told.index is not None:
            self.computing = None
            self._steps.call_failed()
        elif self._over or self._in_call:
            self.begin(self.total_steps)
        self._in_call = True
        call = self._steps.locate(timestep, inputs, source)
        if call.arrival is Arrival.NEW_GENERATION:
            self.finish()
            self.begin(self.total_steps)
            self._in_call, call.signal = True, None
        self._steps.enter(call, inputs, model, compute)
        if self._steps.leads:
            self.input_bytes = size_in_bytes([inputs])
        outputs = None if compute else predicted_outputs(self._steps, inputs)
        if outputs is None:
            self.computing = ComputedCall(self._steps, timer, self.recorder)
            self.computing.start(inputs)
            self._note_memory()
            return None
        self.transformer_calls_saved += 1
        self._close(timer)
        return outputs

    def leave(self, outputs: Tensors) -> None:
        """The call entered last has run the original, which returned `outputs` (see `reads_outputs`).

        Raises:
            SiteError: the outputs' shapes are not those of the inputs.
        """
        call = self.computing
        assert call is not None, "leave() without an enter() that returned None"
        call.finish(outputs, self._read)
        self.transformer_calls += 1
        self._close(call.timer)

    def _close(self, timer: CallTimer) -> None:
        """A call is over, which `timer` was of."""
        self._in_call, self.computing = False, None
        self._note_memory()
        timer.stop()
        self._steps.log.add(timer)

    def _note_memory(self) -> None:
        self.peak_cache_bytes = max(self.peak_cache_bytes, self.cache_bytes)
