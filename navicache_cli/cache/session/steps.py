"""Finds the step and the branch of each call, and decides each step at its first call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from navicache_cli.cache.policies.policy import Measured, Policy, Signal
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.error_estimate import ErrorEstimate
from navicache_cli.cache.session.memory import Branches
from navicache_cli.cache.session.record import StepLog, StepRecord
from navicache_cli.cache.session.signals import SignalSource, SignalWatch
from navicache_cli.cache.session.tracker import Arrival, SeenTimestep, StepTracker
from navicache_cli.cache.tensors import Tensors, timestep_number


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
        record: of the current step.
        gap: t_i − t_{i−1} of the current step; 0 at the first.
        branch: number of the branch the current call belongs to.
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
        self.branch = 0
        self._policy = policy
        self._branches = branches
        self._error_estimate = error_estimate
        self._read = read
        self._on_step = on_step
        self._tracker = StepTracker()
        self._seen = SeenTimestep()

    def begin(self, total_steps: int) -> None:
        """A generation of `total_steps` steps starts."""
        self._total_steps = total_steps
        self._policy.begin(total_steps)
        self._error_estimate.begin()
        self._tracker.begin(total_steps)
        self.log = StepLog(self._on_step)

    def clear(self) -> None:
        """Drop every tensor; the records stay."""
        self.branch = 0
        self.signal.previous = ()
        self._seen.clear()

    @property
    def is_last(self) -> bool:
        """Whether the current step is the last one: nothing is predicted after it."""
        return self._tracker.index == self._total_steps - 1

    def locate(self, timestep: float | torch.Tensor, inputs: Tensors, source: SignalSource | None) -> Call:
        """Find the step of a call; changes nothing but what it learns from the device."""
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
        return Call(self._tracker.classify(number), number, argument, current, found.get("signal"))

    def enter(self, call: Call, inputs: Tensors) -> None:
        """Go on to the step and the branch of a call, and decide if it is the step's first."""
        if call.argument is not None:
            self._seen.remember(call.argument)
        if call.arrival is Arrival.SAME_STEP:
            self.branch += 1
            return
        first = self._branches.first
        if first.history and not first.is_like(inputs):
            # Another resolution: nothing kept or learned applies.
            self._policy.begin(self._total_steps)
            self._error_estimate.lose()
            self._branches.clear()
            call.signal = None
        self._start(call)
        self.signal.remember(call.current, computed=self.record.computed)

    def _start(self, call: Call) -> None:
        self.log.close()
        self.gap = call.timestep - self.record.timestep if self.log.records else 0.0
        self._tracker.advance(call.timestep)
        self.branch = 0
        by_timestep = self.signal.kind is Signal.TIMESTEP
        index, first = self._tracker.index, self._branches.first
        decision = self._policy.decide(index, call.timestep if by_timestep else call.signal)
        if not decision.compute and not first.history:
            # Nothing to predict from, whatever the policy says.
            decision = replace(decision, compute=True)
        decision = self._error_estimate.step(call.timestep, call.signal, decision)
        by_input = self.signal.kind is Signal.INPUT
        measured = Measured(input_change=call.signal) if by_input else Measured(signal=call.signal)
        error = self._error_estimate.error
        self.record = StepRecord(index, call.timestep, decision, measured, first.predictor.fit, error)
        self.log.start(self.record)

    def measured(self, found: dict[str, float]) -> None:
        """The numbers that the last computed step measured have been read."""
        record = self.record
        record.measured = measured = Measured(**{**vars(record.measured), **found})
        if measured.output_norm is None:
            return
        self._error_estimate.computed(record.timestep, measured, self._branches.first.predictor.fit)
        record.innovation = self._policy.observe(
            record.index, measured.input_span, measured.output_span, measured.output_norm
        )
