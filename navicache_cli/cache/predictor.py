"""How the output of a skipped step is rebuilt from what was kept at the last computed one."""

from __future__ import annotations

from typing import Protocol

import torch

from navicache_cli.cache.tensors import Tensors


class Predictor(Protocol):
    """Rebuilds an output."""

    name: str

    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output for `inputs` (x_i), given x_c and y_c: new tensors, shaped and typed like y_c."""


class ResidualReuse:
    """y_i ≈ x_i + (y_c − x_c), in float32, cast to the type of y_c (arXiv 2507.02860 and 2606.26795)."""

    name = "residual"

    @torch.no_grad()
    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output for `inputs` (x_i), given x_c and y_c; the three hold tensors of the same shapes."""
        return tuple(
            (x.float() + (y_c.float() - x_c.float())).to(y_c.dtype)
            for x, x_c, y_c in zip(inputs, cached_inputs, cached_outputs, strict=True)
        )
