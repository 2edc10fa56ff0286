"""A predictor that learns, at every computed step, how best to rebuild a skipped one from what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from navicache_cli.cache.predictors.error_feedback import ErrorFeedback
from navicache_cli.cache.predictors.line import LineFilter, change, weight
from navicache_cli.cache.predictors.predictor import Keep, Kept, Skipped
from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.cache.tensors import Tensors, float32_copy


class Calibrated:
    """y_i ≈ y_c + a w (y_c − y_p) + correction, with a learned; y_c + correction where that has done badly.

    c is the last computed step, p the one computed before it, w = (i − c) / (c − p). What is learned
    (`trend.TrendFilter`) comes from what would have been predicted at the steps that were computed: of the
    branch, or, for a pair of branches that guidance combines, of their combination (`GuidedPair`).

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
        self._line = LineFilter()
        self._feedback = ErrorFeedback()

    @property
    def fit(self) -> Fit:
        return self._line.fit

    @property
    def tensors(self) -> Sequence[Tensors]:
        """What the error feedback keeps."""
        return self._feedback.tensors

    def slope(self, step: int, history: Sequence[Kept], fit: Fit | None = None) -> float:
        """a w, or 0 where that has done badly."""
        fit = fit or self.fit
        if not fit.used or len(history) < 2:
            return 0.0
        return fit.trend * weight(step, history)

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        fit = call.fit or self.fit
        if not fit.corrects:
            self._feedback.drop()
        correction = self._feedback.correction(call.gap)
        outputs = _predicted(history, self.slope(call.step, history, fit))
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
        return self._line.measure(call, history, change(last, older), change(call, last))

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the inner products of the call observed last."""
        self._line.learn(numbers)

    def drop(self) -> None:
        """Drop what the error feedback keeps."""
        self._feedback = ErrorFeedback()


def _predicted(history: Sequence[Kept], slope: float) -> Tensors:
    """y_c + slope (y_c − y_p), float32."""
    held = history[0].outputs
    if not slope:
        return tuple(y_c.float() for y_c in held)
    pairs = zip(held, history[1].outputs, strict=True)
    return tuple(float32_copy(y_c).sub_(y_p).mul_(slope).add_(y_c) for y_c, y_p in pairs)
