"""The two branches of classifier-free guidance within a step: what the second one takes from the first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.session.memory import Branch
from navicache_cli.cache.tensors import Tensors, float32_copy, mean_abs, same_layout

# Up to this scale of guidance a branch's own line was better on `tiny`, by 0.1 to 5 dB at 4. From 6 on it was
# worse, by 0.4 to 7 dB; nothing between the two was measured.
_WEAK = 4.0
# What the names of a branch hold that follows no prompt, or the negative one.
_UNCONDITIONAL = ("uncond", "neg")
Names = tuple[Hashable, ...]  # told of a branch, the outermost first; empty where the order of calls names it


def is_unconditional(names: Names) -> bool:
    """Whether the names of a branch say that it follows no prompt, or the negative one."""
    text = " ".join(map(str, names)).lower()
    return any(word in text for word in _UNCONDITIONAL)


class GuidedPair:
    """What the first branch of a step has left for the second, which is combined with it: u + g (c − u).

    Guidance multiplies the difference c − u of the outputs with and without the prompt, so it is what the
    guided combination misses that counts, and the difference is what has to be predicted most carefully:
    the second branch moves as the first one does, so that their difference is held. Where guidance is weak
    each moves on its own line, which then is nearer.

    Attributes:
        scale: g; None where nobody knows it, or it is 1: each branch then stands alone.
        tensors: all that is held until the step's second branch is over.
    """

    def __init__(self) -> None:
        self.scale: float | None = None
        self.start()

    def start(self) -> None:
        """A step starts, or nothing is to be held."""
        self._lead: Branch | None = None
        self._names: Names = ()
        self._moves: Tensors = ()
        self._missed: Tensors = ()
        self._seen = 0

    @property
    def tensors(self) -> list[Tensors]:
        return [self._moves, self._missed]

    def moves(self, step: int, branch: Branch, names: Names) -> Tensors:
        """How far the output of a branch is expected from y_c: as far as the first one's, if it follows that.

        Called once for each call of a step, in their order.
        """
        self._seen += 1
        if self.scale is not None and self.scale > _WEAK and self._is_second(branch, names):
            return self._moves
        moves = branch.predictor.moves(step, branch.history)
        if self._seen == 1:
            self._lead, self._names = branch, names
            self._moves = moves if self.scale is not None else ()
        return moves

    @torch.no_grad()
    def measure(self, call: Kept, branch: Branch, names: Names) -> dict[str, torch.Tensor]:
        """What the prediction of a computed call would have missed, on the device: see `Policy.missed`.

        The first branch's alone, of which change and norm are measured anyway; then the pair's. Empty where
        nothing was kept to predict from, or the branch is neither.
        """
        moves = self.moves(call.step, branch, names)
        if not branch.is_like(call.outputs):
            return {}
        missed = _missed(call.outputs, branch.history[0].outputs, moves)
        if branch is self._lead:
            if self.scale is not None:
                self._missed = missed
            return {"miss": mean_abs(missed)}
        first, self._missed = self._missed, ()
        if not first or self._lead is None or not self._is_second(branch, names):
            return {}
        guided = self._guided(first, missed)
        norm = mean_abs(self._guided(self._lead.history[0].outputs, call.outputs))
        changed = self._guided(_plus(first, self._moves), _plus(missed, moves))
        return {"miss": mean_abs(guided), "change": mean_abs(changed), "norm": norm}

    def _is_second(self, branch: Branch, names: Names) -> bool:
        """Whether a branch is the second of a pair: called next, alike, and computed when the first was."""
        lead = self._lead
        if self.scale is None or lead is None or self._seen != 2 or not (lead.history and branch.history):
            return False
        first, second = lead.history[0], branch.history[0]
        return (
            names[:-1] == self._names[:-1]
            and same_layout(first.outputs, second.outputs)
            and first.step >= second.step
        )

    def _guided(self, first: Tensors, second: Tensors) -> Tensors:
        """u + g (c − u), float32; the first branch has the prompt unless its name says otherwise."""
        assert self.scale is not None
        if is_unconditional(self._names):
            first, second = second, first
        return tuple(torch.lerp(u.float(), c.float(), self.scale) for c, u in zip(first, second, strict=True))


def _missed(outputs: Tensors, held: Tensors, moves: Sequence[torch.Tensor]) -> Tensors:
    """y_i − y_c − moves, float32."""
    missed = tuple(float32_copy(y).sub_(y_c) for y, y_c in zip(outputs, held, strict=True))
    for miss, move in zip(missed, moves, strict=False):
        miss.sub_(move)
    return missed


def _plus(missed: Tensors, moves: Tensors) -> Tensors:
    return tuple(a + b for a, b in zip(missed, moves, strict=True)) if moves else missed
