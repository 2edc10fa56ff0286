"""Which step, and which generation, a call belongs to: known from the timestep alone."""

from __future__ import annotations

import math
from enum import Enum

import torch

# Relative; above the rounding of a float32, and far below what two steps of a sampler differ by.
_SAME = 1e-6


class Arrival(Enum):
    """What a call's timestep says about it."""

    SAME_STEP = "same step"
    NEW_STEP = "new step"
    NEW_GENERATION = "new generation"
    BEYOND = "a step after the last one"


class StepTracker:
    """Counts steps by watching the timestep change.

    Counting calls instead would break when guidance is off, batched, or has a third branch. Within a
    generation timesteps only rise or only fall, so a turn is a new generation, and a timestep that goes on
    after all steps have been seen is one too many. A generation cut short after its first step cannot be
    told from a second branch of it: whoever restarts there says so with `Session.begin`. Timesteps that
    differ by less than float32 tells apart are one: a branch may be told a number, another a tensor of it.
    """

    def __init__(self) -> None:
        self.begin(total_steps=0)

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts."""
        self.index = -1
        self._total_steps = total_steps
        self._timestep: float | None = None
        self._rising: bool | None = None

    def classify(self, timestep: float) -> Arrival:
        """What a call at `timestep` is; changes nothing."""
        if self._timestep is None:
            return Arrival.NEW_STEP
        if math.isclose(timestep, self._timestep, rel_tol=_SAME):
            return Arrival.SAME_STEP
        over = self.index + 1 >= self._total_steps
        if self._rising is None:
            return Arrival.NEW_GENERATION if over else Arrival.NEW_STEP
        if (timestep > self._timestep) != self._rising:
            return Arrival.NEW_GENERATION
        return Arrival.BEYOND if over else Arrival.NEW_STEP

    def advance(self, timestep: float) -> None:
        """Go to the next step, at `timestep`."""
        if self._timestep is not None:
            self._rising = timestep > self._timestep
        self.index += 1
        self._timestep = timestep


class SeenTimestep:
    """The timestep tensor read last: while it is unchanged, no other read is needed to know the step.

    A second branch that passes this tensor costs no read; one that passes a copy of it, or an inference
    tensor (whose changes leave no trace), costs another.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        # With its version. Holding the tensor keeps its identity from being reused.
        self._seen: tuple[torch.Tensor, int] | None = None

    def remember(self, timestep: torch.Tensor) -> None:
        """`timestep` has been read."""
        self._seen = None if timestep.is_inference() else (timestep, timestep._version)

    def is_same(self, timestep: float | torch.Tensor) -> bool:
        """Whether `timestep` is the very tensor read last, unchanged."""
        return (
            self._seen is not None and timestep is self._seen[0] and self._seen[0]._version == self._seen[1]
        )
