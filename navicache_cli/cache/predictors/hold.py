"""The output of the last computed step, held."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from navicache_cli.cache.predictors.predictor import Keep, Kept, Skipped, Unlearning
from navicache_cli.cache.tensors import Tensors


class HoldOutput(Unlearning):
    """y_i ≈ y_c."""

    name = "hold"
    keeps = Keep.BOTH  # x_c is measured against

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        """Copies of y_c, as a sampler may write into what it is given."""
        return tuple(y_c.clone() for y_c in history[0].outputs)
