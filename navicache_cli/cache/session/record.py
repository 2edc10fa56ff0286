"""The log of a generation: one record per step, completed when the step is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from navicache_cli.cache.policies.policy import Decision, Measured
from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.cache.session.timing import CallTimer


@dataclass
class StepRecord:
    """What happened at one step.

    `innovation` and the spans in `measured` are filled in once the step is over, `seconds` then or, on
    a GPU, at the latest by `Session.finish`.

    Attributes:
        index: 0 … total_steps − 1.
        timestep: t_i as told, or the timestep argument's value in the model's own units.
        decision: whether the model ran, and why.
        measured: what was measured at this step.
        fit: what a predictor that learns knew before this step, of the pair of branches or of the first one.
        predicted_error: of the final latents, relative, as predicted at this step; see `error_estimate`.
        innovation: z − k as measured at this very step; None if it was skipped.
        seconds: time inside the cached region, all branches together.
        model: name of the model that the step called first, where one session serves several.
    """

    index: int
    timestep: float
    decision: Decision
    measured: Measured
    fit: Fit | None = None
    predicted_error: float | None = None
    innovation: float | None = None
    seconds: float | None = None
    model: str = ""

    @property
    def computed(self) -> bool:
        """The model ran; otherwise the output was predicted."""
        return self.decision.compute


class StepLog:
    """Collects the records and the times of one generation.

    Args:
        on_step: called with each record when its step is over.
    """

    def __init__(self, on_step: Callable[[StepRecord], None] | None) -> None:
        self.records: list[StepRecord] = []
        self._on_step = on_step
        # Timers of the current step, or None; then those of past steps still unknown.
        self._timers: list[CallTimer] | None = None
        self._untimed: list[tuple[StepRecord, list[CallTimer]]] = []

    def start(self, record: StepRecord) -> None:
        """The step of `record` starts; the one before it must be closed."""
        self.records.append(record)
        self._timers = []

    def add(self, timer: CallTimer) -> None:
        """A call of the current step is over."""
        if self._timers is not None:
            self._timers.append(timer)

    def close(self, *, wait: bool = False) -> None:
        """The current step, if any, is over. Fill in what times are known; `wait` for all of them."""
        closing = self._timers is not None
        if self._timers is not None:
            self._untimed.append((self.records[-1], self._timers))
            self._timers = None
        self._untimed = [
            (record, timers) for record, timers in self._untimed if not _time(record, timers, wait)
        ]
        if closing and self._on_step is not None:
            self._on_step(self.records[-1])


def _time(record: StepRecord, timers: list[CallTimer], wait: bool) -> bool:
    """Fill in the record's seconds; False if the device is still busy with that step."""
    seconds = [timer.seconds(wait=wait) for timer in timers]
    known = [value for value in seconds if value is not None]
    if len(known) < len(seconds):
        return False
    record.seconds = sum(known)
    return True
