"""Finds the step and the branch of each call, and decides each step at its first call."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch

from navicache_cli.cache.policies.policy import Measured, Policy, Signal
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.error_estimate import ErrorEstimate
from navicache_cli.cache.session.memory import Branches
from navicache_cli.cache.session.pair import GuidedPair
from navicache_cli.cache.session.parts import PartStore
from navicache_cli.cache.session.record import StepLog, StepRecord
from navicache_cli.cache.session.signals import SignalSource, SignalWatch
from navicache_cli.cache.session.told import Told
from navicache_cli.cache.session.tracker import Arrival, SeenTimestep, StepTracker
from navicache_cli.cache.tensors import Tensors, timestep_number
from navicache_cli.errors import SiteError, UsageError


@dataclass
class Call:
    """What a call says about itself.

    Attributes:
        arrival: which step it belongs to.
        timestep: t_i.
        argument: the timestep as the call passes it, if it was read from the device.
        current: what the signal is the change of.
        signal: that change, if it is known.
    """

    arrival: Arrival
    timestep: float = 0.0
    argument: torch.Tensor | None = None
    current: Tensors = ()
    signal: float | None = None


_SAME_STEP = Call(Arrival.SAME_STEP)


class Steps:
    """The steps of one generation after another.

    Args:
        policy: decides.
        branches: what is kept to predict from.
        error_estimate: may have a step computed that the policy would skip.
        read: reads timestep and signal together with all that was measured.
        on_step: called with each step's record when that step is over.

    Attributes:
        policy, branches: as given.
        parts: outputs of parts of the model that are used again at computed steps.
        pair: the branches of guidance.
        record: of the current step.
        gap: t_i − t_{i−1} of the current step; 0 at the first.
        told: step and branch as the caller tells them; what is told is not inferred.
        index: number of the current step, -1 before the first.
        branch, name: the branch that the current call belongs to, and what it is called.
        names: what that branch was told to be called, the outermost first; empty where nobody said so.
        lead: the branch that the step's first call belongs to.
        leads: whether the current call is its step's first, which is measured and by which it is decided.
        took_over: the current step's model is another than that of the step before.
        signal: what the policy decides by.
        log: the records.
    """

    record: StepRecord
    gap: float

    def __init__(
        self,
        policy: Policy,
        branches: Branches,
        error_estimate: ErrorEstimate,
        read: DeviceRead,
        on_step: Callable[[StepRecord], None] | None,
    ) -> None:
        self.signal = SignalWatch(policy)
        self.told = Told()
        self.policy = policy
        self.branches = branches
        self.parts = PartStore()
        self.pair = GuidedPair()
        self._error_estimate = error_estimate
        self._read = read
        self._on_step = on_step
        self.log = StepLog(on_step)
        self._tracker = StepTracker()
        self._seen = SeenTimestep()

    def begin(self, total_steps: int) -> None:
        """A generation of `total_steps` steps starts."""
        self._total_steps = total_steps
        self.policy.begin(total_steps)
        self._error_estimate.begin()
        self.told.begin(total_steps)
        self._tracker.begin(total_steps)
        self.log = StepLog(self._on_step)
        self.parts = PartStore()

    def release(self) -> None:
        """Drop every tensor that only a further step would need."""
        self.branches.release()
        self.parts.clear()
        self.pair.start()
        self.signal.previous = ()

    def clear(self) -> None:
        """Drop every tensor; the records stay."""
        self._forget()
        self.parts.clear()
        self.index = -1
        self.leads = True
        self.took_over = False
        self.name: Hashable = 0
        self.names: tuple[Hashable, ...] = ()
        self.branch = self.lead = self.branches.make()
        self._called: list[Hashable] = []  # names of the branches that this step has called
        self._leading: Hashable = ()  # names told of the branch that led the last step, whichever model ran
        self.signal.previous = ()
        self._seen.clear()

    @property
    def tensors(self) -> list[Tensors]:
        """All tensors kept: to predict from, to use again, or to compare the next step with."""
        return [self.signal.previous, self.parts.tensors, *self.pair.tensors, *self.branches.tensors]

    @property
    def is_last(self) -> bool:
        """Whether the current step is the last one: nothing is predicted after it."""
        return self.index == self._total_steps - 1

    def locate(
        self, timestep: float | torch.Tensor | None, inputs: Tensors, source: SignalSource | None
    ) -> Call:
        """Find the step of a call; changes nothing but what it learns from the device.

        Raises:
            SiteError: nobody tells the step, and the call has no timestep, or one beyond the last step's.
        """
        if self.told.index is not None:
            if self.told.index == self.index:
                return _SAME_STEP
            current = self.signal.current(inputs, source)
            found = self._read.now(self.signal.change(current))
            return Call(Arrival.NEW_STEP, self.told.time, None, current, found.get("signal"))
        if timestep is None:
            raise SiteError(
                "expected a timestep in the call, or a step that was told, found neither",
                hint="tell each step where it starts: cache.step(i); or name the parameter: timestep='...'",
            )
        if self._seen.is_same(timestep):
            return _SAME_STEP
        value = timestep_number(timestep)
        if isinstance(value, float) and self._tracker.classify(value) is Arrival.SAME_STEP:
            return _SAME_STEP
        # If reading the timestep means waiting, measure first and wait once, even if it then turns out
        # that the step is still the same.
        current = self.signal.current(inputs, source)
        waiting = {} if isinstance(value, float) else {"timestep": value}
        found = self._read.now({**waiting, **self.signal.change(current)})
        number = value if isinstance(value, float) else found["timestep"]
        argument = timestep if waiting and isinstance(timestep, torch.Tensor) else None
        arrival = self._tracker.classify(number)
        if arrival is Arrival.BEYOND:
            raise SiteError(
                f"expected a generation of {self._total_steps} steps, found another step, "
                f"at timestep {number:g}",
                hint="pass the number of steps that the sampler takes, or begin each generation",
            )
        return Call(arrival, number, argument, current, found.get("signal"))

    def enter(self, call: Call, inputs: Tensors, model: str, compute: bool) -> None:
        """Go on to the step and the branch of a call, and decide if it is the step's first.

        Args:
            call: as located.
            inputs: x_i.
            model: of several, the one that is called; no branch of another is predicted from what it keeps.
            compute: whether this call can only be computed.
        """
        if call.argument is not None:
            self._seen.remember(call.argument)
        self.leads = call.arrival is not Arrival.SAME_STEP
        if self.leads:
            self._called = []
        self.name, self.names = self._next_name(model), self.told.names
        if not self.leads:
            self.branch = self.branches[self.name]
            return
        self.took_over = bool(self.log.records) and self.record.model != model
        if self.took_over:
            # What another model returned tells nothing of what this one will.
            self._forget()
            self.parts.clear()
        lead = self.branches[self.name]
        if lead.history and not lead.is_like(inputs):
            # Another resolution: nothing kept or measured applies.
            self.policy.forget(self._total_steps)
            self._error_estimate.lose()
            self._forget()
            lead, call.signal = self.branches[self.name], None
        if self.names != self._leading:
            call.signal = None  # The last step was led by a branch whose input may be quite another.
        self._leading = self.names
        self.branch = self.lead = lead
        self._start(call, compute or not self.branches.can_predict(lead, inputs))
        self.record.model = model
        self.signal.remember(call.current, computed=self.record.computed)

    def _next_name(self, model: str) -> Hashable:
        """The name of the branch that calls `model` now.

        Raises:
            UsageError: it has called it already in this step.
        """
        names = self.told.names
        name = (model, names or len(self._called))
        if name in self._called:
            raise UsageError(
                f"expected one call of branch {' '.join(map(str, names))!r} in each step, "
                f"found another in step {self.index}",
                hint="name the calls of a step, with cache.branch('window 1'): ...; or begin a generation",
            )
        self._called.append(name)
        return name

    def call_failed(self) -> None:
        """The model raised during the last call, which may be made again; what has been kept is dropped."""
        del self._called[-1:]
        self._read.clear()
        self.signal.previous = ()
        self._forget()

    def _forget(self) -> None:
        """Drop what is kept of the branches, and what was learned of them."""
        self.branches.clear()
        self.pair.forget()

    def _start(self, call: Call, compute: bool) -> None:
        """A step starts; `compute` where it can only be computed."""
        self.log.close()
        self.pair.start()
        self.gap = call.timestep - self.record.timestep if self.log.records else 0.0
        self._tracker.advance(call.timestep)
        told, lead = self.told.index, self.lead
        self.index = self._tracker.index if told is None else told
        if self.signal.kind is Signal.TIMESTEP:
            signal: float | None = call.timestep
        else:
            # Without a signal a policy computes, and a budget counts the step as spent.
            signal = None if compute else call.signal
        self.policy.timestep = call.timestep
        decision = self.policy.decide(self.index, signal)
        if compute and not decision.compute:
            # What the policy has added up since the step computed last counts no more.
            self.policy.forget(self._total_steps)
            decision = replace(decision, compute=True)
        if self.took_over:
            decision = replace(decision, reuse=())
        decision = self._error_estimate.step(call.timestep, call.signal, decision)
        by_input = self.signal.kind is Signal.INPUT
        measured = Measured(input_change=call.signal) if by_input else Measured(signal=call.signal)
        error = self._error_estimate.error
        fit = self.pair.learned or lead.predictor.fit
        self.record = StepRecord(self.index, call.timestep, decision, measured, fit, error)
        self.log.start(self.record)

    def measured(self, found: dict[str, float]) -> None:
        """The numbers that the last computed step measured have been read."""
        record = self.record
        record.measured = measured = Measured(**{**vars(record.measured), **found})
        if measured.output_norm is None:
            return
        self._error_estimate.computed(record.timestep, measured, self.lead.predictor.fit)
        record.innovation = self.policy.observe(
            record.index, measured.input_span, measured.output_span, measured.output_norm
        )

    def missed(self, found: dict[str, float]) -> None:
        """What predictions of the last computed step would have missed has been read."""
        measured = self.record.measured
        change, norm = (found.get("change"), found.get("norm"))
        if change is None or norm is None:  # of the first branch alone, which are measured anyway
            change, norm = measured.output_span, measured.output_norm
        if change is not None and norm is not None:
            self.policy.missed(found["miss"], change, norm)
