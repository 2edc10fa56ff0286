"""What the branches of a generation keep of their last computed calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import torch

from navicache_cli.cache.predictors.predictor import Keep, Kept, MakePredictor
from navicache_cli.cache.tensors import Tensors, same_layout


class Branch:
    """One branch of the guidance: its predictor, and as many computed calls as that looks back to.

    Args:
        make_predictor: makes the predictor.

    Attributes:
        predictor: rebuilds the outputs of skipped calls.
        history: what is kept of computed calls, the newest first.
    """

    def __init__(self, make_predictor: MakePredictor) -> None:
        self.predictor = make_predictor()
        self.history: list[Kept] = []

    @property
    def stores_residual(self) -> bool:
        """Whether the residual is kept in the place of the output."""
        return self.predictor.keeps is Keep.RESIDUAL

    def is_like(self, inputs: Tensors) -> bool:
        """Whether something is kept, of calls on inputs of this shape."""
        return bool(self.history) and same_layout(inputs, self.history[0].outputs)

    def release(self) -> Kept | None:
        """Let go of what a call that is about to be computed makes needless; return what was kept last."""
        last = self.history[0] if self.history else None
        if not self.predictor.observes:
            self.history = _without_inputs(self.history[: self.predictor.depth - 1])
        return last

    def drop(self) -> None:
        """Drop all tensors; what the predictor learned stays."""
        self.history = []
        self.predictor.drop()

    def observe(self, call: Kept) -> Mapping[str, torch.Tensor]:
        """Let the predictor compare a computed call with those before it, before `keep`."""
        return self.predictor.observe(call, self._kept_like(call))

    def keep(self, call: Kept) -> None:
        """Keep a computed call."""
        older = self._kept_like(call)[: self.predictor.depth - 1]
        self.history = [call, *_without_inputs(older)]

    def _kept_like(self, call: Kept) -> list[Kept]:
        return [kept for kept in self.history if same_layout(kept.outputs, call.outputs)]


# More calls in one step than any guidance makes: generations that ended after a step are taken for branches
# of it, and a window may move for good. Calls of further branches are computed, and nothing is kept of them.
MOST_BRANCHES = 32


class Branches:
    """The branches of a generation by their names, or by the order they are called in at each step.

    Args:
        make_predictor: makes the predictor of each.
    """

    def __init__(self, make_predictor: MakePredictor) -> None:
        self._make_predictor = make_predictor
        self.clear()

    def clear(self) -> None:
        """Drop everything, and what the predictors learned."""
        self._branches: dict[Hashable, Branch] = {}
        self._computed_step = -1

    def release(self) -> None:
        """Drop all tensors; what the predictors learned stays."""
        for branch in self._branches.values():
            branch.drop()

    def __getitem__(self, name: Hashable) -> Branch:
        """The branch of this name, new if it is called for the first time."""
        if name in self._branches:
            return self._branches[name]
        branch = self.make()
        if len(self._branches) >= MOST_BRANCHES:
            self._drop_stale()
        if len(self._branches) < MOST_BRANCHES:
            self._branches[name] = branch
        return branch

    def make(self) -> Branch:
        """A branch of which nothing is kept here."""
        return Branch(self._make_predictor)

    def _drop_stale(self) -> None:
        """Drop what has taken no part in the last computed step: nothing would be predicted from it."""
        self._branches = {
            name: branch
            for name, branch in self._branches.items()
            if branch.history and branch.history[0].step >= self._computed_step
        }

    @property
    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        groups: list[Tensors] = []
        for branch in self._branches.values():
            groups += branch.predictor.tensors
            for call in branch.history:
                groups += call.inputs, call.outputs
        return groups

    def can_predict(self, branch: Branch, inputs: Tensors) -> bool:
        """Whether the branch took part in the last computed step, or was computed since, on such inputs."""
        return branch.is_like(inputs) and branch.history[0].step >= self._computed_step

    def computed(self, step: int) -> None:
        """The leading branch has computed `step`: what was kept before is stale for the others."""
        self._computed_step = step


def _without_inputs(history: Sequence[Kept]) -> list[Kept]:
    return [replace(kept, inputs=()) for kept in history]
