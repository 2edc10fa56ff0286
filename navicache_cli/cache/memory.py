"""What the branches of a generation keep of their last computed calls, and predictions from it."""

from __future__ import annotations

from dataclasses import replace

from navicache_cli.cache.predictor import Keep, Kept, Predictor, TaylorSeries
from navicache_cli.cache.tensors import Tensors, same_layout


class BranchMemory:
    """Keeps for each branch as many calls as the predictor looks back to, the newest first.

    Args:
        predictor: rebuilds the outputs of skipped calls.
    """

    def __init__(self, predictor: Predictor | TaylorSeries) -> None:
        self.predictor = predictor
        self.keep_what: Keep = getattr(predictor, "keeps", Keep.BOTH)
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._branches: dict[int, list[Kept]] = {}
        self._computed_step = -1

    def has(self, branch: int) -> bool:
        """Whether the branch keeps anything."""
        return branch in self._branches

    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        calls = [kept for history in self._branches.values() for kept in history]
        return [group for kept in calls for group in (kept.inputs, kept.outputs)]

    def is_other_shape(self, inputs: Tensors) -> bool:
        """Whether the first branch's inputs have another shape than at its last computed step."""
        return self.has(0) and not same_layout(inputs, self._branches[0][0].outputs)

    def can_predict(self, branch: int, inputs: Tensors) -> bool:
        """Whether the branch took part in the last computed step, or was computed since, on such inputs."""
        if not self.has(branch):
            return False
        kept = self._branches[branch][0]
        return kept.step >= self._computed_step and same_layout(inputs, kept.outputs)

    def predict(self, branch: int, step: int, inputs: Tensors) -> Tensors:
        """The output at `step`, by the predictor; see `can_predict`."""
        history = self._branches[branch]
        if isinstance(self.predictor, TaylorSeries):
            return self.predictor.extrapolate(step, history)
        return self.predictor.predict(inputs, history[0].inputs, history[0].outputs)

    def release(self, branch: int) -> Kept | None:
        """Let go of what a computed call of the branch makes needless; return what it kept last."""
        history = self._branches.pop(branch, [])
        depth = self.predictor.order if isinstance(self.predictor, TaylorSeries) else 0
        if depth and history:
            self._branches[branch] = [replace(kept, inputs=()) for kept in history[:depth]]
        return history[0] if history else None

    def keep(self, branch: int, kept: Kept) -> None:
        """Keep a computed call."""
        self._branches[branch] = [kept, *self._branches.get(branch, [])]

    def computed(self, step: int) -> None:
        """The first branch has computed `step`: what was kept before is stale for the others."""
        self._computed_step = step
