"""What the branches of a generation keep of their last computed calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def observe(self, call: Kept) -> Mapping[str, torch.Tensor]:
        """Let the predictor compare a computed call with those before it, before `keep`."""
        return self.predictor.observe(call, self._kept_like(call))

    def keep(self, call: Kept) -> None:
        """Keep a computed call."""
        older = self._kept_like(call)[: self.predictor.depth - 1]
        self.history = [call, *_without_inputs(older)]

    def _kept_like(self, call: Kept) -> list[Kept]:
        return [kept for kept in self.history if same_layout(kept.outputs, call.outputs)]


class Branches:
    """The branches of a generation by their numbers, in the order they are called in at each step.

    Args:
        make_predictor: makes the predictor of each.
    """

    def __init__(self, make_predictor: MakePredictor) -> None:
        self._make_predictor = make_predictor
        self.clear()

    def clear(self) -> None:
        """Drop everything, and what the predictors learned."""
        self._branches: list[Branch] = []
        self._computed_step = -1

    def __getitem__(self, number: int) -> Branch:
        """The branch of this number, new if it is called for the first time."""
        while len(self._branches) <= number:
            self._branches.append(Branch(self._make_predictor))
        return self._branches[number]

    @property
    def first(self) -> Branch:
        """The branch that is measured, and by which each step is decided."""
        return self[0]

    @property
    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        groups: list[Tensors] = []
        for branch in self._branches:
            groups += branch.predictor.tensors
            for call in branch.history:
                groups += call.inputs, call.outputs
        return groups

    def can_predict(self, branch: Branch, inputs: Tensors) -> bool:
        """Whether the branch took part in the last computed step, or was computed since, on such inputs."""
        return branch.is_like(inputs) and branch.history[0].step >= self._computed_step

    def computed(self, step: int) -> None:
        """The first branch has computed `step`: what was kept before is stale for the others."""
        self._computed_step = step


def _without_inputs(history: Sequence[Kept]) -> list[Kept]:
    return [replace(kept, inputs=()) for kept in history]
