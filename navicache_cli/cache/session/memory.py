"""What the branches of a generation keep of their last computed calls, and predictions from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from navicache_cli.cache.predictors.calibrated import Calibrated, Lesson
from navicache_cli.cache.predictors.predictor import Keep, Kept, Predictor, TaylorSeries
from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.cache.tensors import Tensors, same_layout

AnyPredictor = Predictor | TaylorSeries | Calibrated


class BranchMemory:
    """Keeps for each branch as many calls as the predictor looks back to, the newest first.

    Args:
        predictor: rebuilds the outputs of skipped calls.
    """

    def __init__(self, predictor: AnyPredictor) -> None:
        self.predictor = predictor
        self._calibrated = predictor if isinstance(predictor, Calibrated) else None
        self.keep_what: Keep = getattr(predictor, "keeps", Keep.BOTH)
        self._depth = _depth(predictor)
        self.clear()

    def clear(self) -> None:
        """Drop everything, and what the predictor learnt."""
        self._branches: dict[int, list[Kept]] = {}
        self._computed_step = -1
        self._lessons: list[Lesson] = []
        if self._calibrated:
            self._calibrated.reset()

    def has(self, branch: int) -> bool:
        """Whether the branch keeps anything."""
        return branch in self._branches

    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        calls = [kept for history in self._branches.values() for kept in history]
        groups = [group for kept in calls for group in (kept.inputs, kept.outputs)]
        return groups + (self._calibrated.tensors if self._calibrated else [])

    def is_other_shape(self, inputs: Tensors) -> bool:
        """Whether the first branch's inputs have another shape than at its last computed step."""
        return self.has(0) and not same_layout(inputs, self._branches[0][0].outputs)

    def can_predict(self, branch: int, inputs: Tensors) -> bool:
        """Whether the branch took part in the last computed step, or was computed since, on such inputs."""
        if not self.has(branch):
            return False
        kept = self._branches[branch][0]
        return kept.step >= self._computed_step and same_layout(inputs, kept.outputs)

    def predict(self, branch: int, step: int, timestep: float, gap: float, inputs: Tensors) -> Tensors:
        """The output at `step`; see `can_predict`. `gap` is the timestep less that of the step before."""
        history = self._branches[branch]
        if isinstance(self.predictor, TaylorSeries):
            return self.predictor.extrapolate(step, history)
        if isinstance(self.predictor, Calibrated):
            return self.predictor.rebuild(branch, step, timestep, gap, history)
        return self.predictor.predict(inputs, history[0].inputs, history[0].outputs)

    def release(self, branch: int) -> Kept | None:
        """Let go of what a computed call of the branch makes needless; return what it kept last."""
        history = self._branches.pop(branch, [])
        if self._calibrated and history:
            # Measured against when the call is over.
            self._branches[branch] = history
        elif self._depth and history:
            self._branches[branch] = _without_inputs(history[: self._depth])
        return history[0] if history else None

    def study(self, branch: int, step: int, timestep: float, outputs: Tensors) -> None:
        """Let the predictor measure what it would have predicted for a computed call; before `keep`."""
        if self._calibrated:
            history = self._kept_like(branch, outputs)
            lesson = self._calibrated.study(branch, step, timestep, outputs, history)
            self._lessons += [lesson] if lesson else []

    @property
    def pending(self) -> list[torch.Tensor]:
        """All that was measured and not learnt yet, 0-dim, still on the device."""
        return [number for lesson in self._lessons for number in lesson.numbers]

    def learn(self, numbers: Sequence[float]) -> None:
        """Hand the predictor the values of `pending`."""
        lessons, self._lessons = self._lessons, []
        start = 0
        for lesson in lessons:
            assert self._calibrated is not None
            end = start + len(lesson.numbers)
            self._calibrated.learn(lesson, numbers[start:end])
            start = end

    def fit(self) -> Fit | None:
        """What the predictor knows of the first branch; None of one that does not learn."""
        return self._calibrated.fit(0) if self._calibrated else None

    def keep(self, branch: int, kept: Kept) -> None:
        """Keep a computed call."""
        older = self._kept_like(branch, kept.outputs)
        self._branches[branch] = [kept, *_without_inputs(older[: self._depth])]

    def _kept_like(self, branch: int, outputs: Tensors) -> list[Kept]:
        """What the branch keeps of calls whose outputs were laid out like these."""
        return [kept for kept in self._branches.get(branch, []) if same_layout(kept.outputs, outputs)]

    def computed(self, step: int) -> None:
        """The first branch has computed `step`: what was kept before is stale for the others."""
        self._computed_step = step


def _depth(predictor: AnyPredictor) -> int:
    """How many outputs the predictor looks at besides the newest."""
    if isinstance(predictor, TaylorSeries):
        return predictor.order
    return predictor.depth if isinstance(predictor, Calibrated) else 0


def _without_inputs(history: Sequence[Kept]) -> list[Kept]:
    return [replace(kept, inputs=()) for kept in history]
