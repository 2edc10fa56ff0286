"""A predictor that learns, at every computed step, how best to rebuild a skipped one from what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from navicache_cli.cache.predictors.error_feedback import ErrorFeedback
from navicache_cli.cache.predictors.predictor import Keep, Kept, Skipped
from navicache_cli.cache.predictors.trend import Fit, Products, TrendFilter
from navicache_cli.cache.tensors import Tensors, float32_copy, sum_all


class Calibrated:
    """y_i ≈ y_c + a w (y_c − y_p) + correction, with a learned; y_c + correction where that has done badly.

    c is the last computed step, p the one computed before it, w = (i − c) / (c − p). Each branch learns for
    itself (`trend.TrendFilter`) from what it would have predicted at the steps it computed.

    A branch that follows another moves as that one does, from its own y_c: what guidance multiplies, the
    difference of the two, is then held. Its own straight line goes astray first, and guidance with it. See
    `GuidedPair` for where it does.

    The correction is a part of what earlier predictions are known to have missed (`ErrorFeedback`); there is
    none where interpolating between computed outputs has done badly.

    Kept are x_c, y_c, y_p, the error to correct, and during a run of skips the sum of its predictions: three
    to five tensors of x's size per branch.
    """

    name = "calibrated"
    keeps = Keep.BOTH  # x_c is measured against
    depth = 2
    observes = True

    def __init__(self) -> None:
        self._trend = TrendFilter()
        self._feedback = ErrorFeedback()
        self._place = (0.0, 0.0)  # w and v of the call observed last

    @property
    def fit(self) -> Fit:
        return self._trend.fit

    @property
    def tensors(self) -> Sequence[Tensors]:
        """What the error feedback keeps."""
        return self._feedback.tensors

    @torch.no_grad()
    def moves(self, step: int, history: Sequence[Kept]) -> Tensors:
        """a w (y_c − y_p), or nothing where that has done badly."""
        if not self.fit.used or len(history) < 2:
            return ()
        slope = self.fit.trend * _weight(step, history)
        last, older = history[:2]
        pairs = zip(last.outputs, older.outputs, strict=True)
        return tuple(float32_copy(y_c).sub_(y_p).mul_(slope) for y_c, y_p in pairs)

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        fit = self.fit
        if not fit.corrects:
            self._feedback.drop()
        correction = self._feedback.correction(call.gap)
        moves = self.moves(call.step, history) if call.moves is None else call.moves
        outputs = _moved(history[0].outputs, moves)
        self._feedback.skipped(call.timestep, call.gap, outputs)
        if correction:
            outputs = tuple(y + part for y, part in zip(outputs, correction, strict=True))
        # Copies even where nothing was added: a sampler may write into what it is given.
        return tuple(y.to(y_c.dtype, copy=True) for y, y_c in zip(outputs, history[0].outputs, strict=True))

    @torch.no_grad()
    def observe(self, call: Kept, history: Sequence[Kept]) -> Mapping[str, torch.Tensor]:
        """Compare a computed call with what would have been predicted; see `trend.Products`."""
        if not history:
            self._feedback = ErrorFeedback()
            return {}
        self._feedback.computed(call.timestep, call.outputs, history[0])
        if len(history) < 2 or call.timestep == history[1].timestep:
            return {}
        last, older = history[:2]
        sums: list[torch.Tensor] = []
        for y, y_c, y_p in zip(call.outputs, last.outputs, older.outputs, strict=True):
            before, change = float32_copy(y_c).sub_(y_p), float32_copy(y).sub_(y_c)
            found = [sum_all(u * v) for u, v in ((before, before), (before, change), (change, change))]
            sums = found if not sums else [u + v for u, v in zip(sums, found, strict=True)]
        place = (last.timestep - older.timestep) / (call.timestep - older.timestep)
        self._place = _weight(call.step, history), place
        return dict(zip(("before", "across", "change"), sums, strict=True))

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the inner products of the call observed last."""
        weight, place = self._place
        self._trend.observe(Products(**numbers, weight=weight, place=place))

    def drop(self) -> None:
        """Drop what the error feedback keeps."""
        self._feedback = ErrorFeedback()


def _moved(held: Tensors, moves: Tensors) -> Tensors:
    """y_c moved so far, float32."""
    if not moves:
        return tuple(y_c.float() for y_c in held)
    return tuple(float32_copy(y_c).add_(move) for y_c, move in zip(held, moves, strict=True))


def _weight(step: int, history: Sequence[Kept]) -> float:
    """w = (i − c) / (c − p)."""
    last, older = history[0].step, history[1].step
    return (step - last) / (last - older)
