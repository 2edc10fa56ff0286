"""Reuse of the residual, the difference of output and input at the last computed step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from navicache_cli.cache.predictors.predictor import Keep, Kept, Skipped, Unlearning
from navicache_cli.cache.tensors import Tensors, float32_copy


class ResidualReuse(Unlearning):
    """y_i ≈ x_i + (y_c − x_c), in float32, cast to the type of y_c (arXiv 2507.02860 and 2606.26795)."""

    name = "residual"
    keeps = Keep.BOTH

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        last = history[0]
        return tuple(
            float32_copy(y_c).sub_(x_c).add_(x).to(y_c.dtype)
            for x, x_c, y_c in zip(call.inputs, last.inputs, last.outputs, strict=True)
        )


class StoredResidual(Unlearning):
    """The same for methods that measure neither x_c nor y_c: their difference alone is kept, in y's type."""

    name = "stored-residual"
    keeps = Keep.RESIDUAL

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        return tuple((x + r).to(r.dtype) for x, r in zip(call.inputs, history[0].outputs, strict=True))
