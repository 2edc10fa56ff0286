"""How the output of a skipped step is rebuilt from what was kept at computed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch

from navicache_cli.cache.policies.policy import Measure, Policy
from navicache_cli.cache.policies.taylorseer import TaylorSeer, taylor_weights
from navicache_cli.cache.tensors import Tensors


class Keep(Enum):
    """What a predictor needs of a computed call."""

    BOTH = "x_c and y_c"
    RESIDUAL = "y_c − x_c, in the place of y_c"
    OUTPUTS = "y of the last computed calls"


@dataclass
class Kept:
    """What one branch keeps of the call it computed at `step`.

    Attributes:
        step: c.
        inputs: x_c, or empty where it is not needed.
        outputs: y_c, or its residual under `Keep.RESIDUAL`: of the shape of x_c in any case.
        timestep: t_c, in the model's own units.
    """

    step: int
    inputs: Tensors
    outputs: Tensors
    timestep: float = 0.0


class Predictor(Protocol):
    """Rebuilds an output from the last computed call.

    A predictor may say by an attribute `keeps` that the residual is all it needs.
    """

    name: str

    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output for `inputs` (x_i), given x_c and y_c: new tensors, shaped and typed like y_c."""


class ResidualReuse:
    """y_i ≈ x_i + (y_c − x_c), in float32, cast to the type of y_c (arXiv 2507.02860 and 2606.26795)."""

    name = "residual"
    keeps = Keep.BOTH

    @torch.no_grad()
    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output for `inputs` (x_i), given x_c and y_c; the three hold tensors of the same shapes."""
        return tuple(
            (x.float() + (y_c.float() - x_c.float())).to(y_c.dtype)
            for x, x_c, y_c in zip(inputs, cached_inputs, cached_outputs, strict=True)
        )


class HoldOutput:
    """y_i ≈ y_c."""

    name = "hold"
    keeps = Keep.BOTH  # x_c is measured against

    @torch.no_grad()
    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output held; copies, as a sampler may write into what it is given."""
        return tuple(y_c.clone() for y_c in cached_outputs)


class StoredResidual:
    """The same for methods that measure neither x_c nor y_c: their difference alone is kept, in y's type."""

    name = "residual"
    keeps = Keep.RESIDUAL

    @torch.no_grad()
    def predict(self, inputs: Tensors, cached_inputs: Tensors, cached_outputs: Tensors) -> Tensors:
        """The output for `inputs` (x_i); `cached_outputs` is y_c − x_c, `cached_inputs` is not used."""
        return tuple((x + r).to(r.dtype) for x, r in zip(inputs, cached_outputs, strict=True))


class TaylorSeries:
    """The expansion in the step number, from the last order + 1 computed outputs; see `taylor_weights`.

    Args:
        order: of the expansion, less where fewer outputs have been computed.
    """

    name = "taylor"
    keeps = Keep.OUTPUTS

    def __init__(self, order: int) -> None:
        self.order = order

    @torch.no_grad()
    def extrapolate(self, step: int, history: Sequence[Kept]) -> Tensors:
        """The output at `step`, from what was kept, the newest first; summed in float32."""
        weights = taylor_weights([kept.step for kept in history], step)
        return tuple(
            sum(
                (w * y.float() for w, y in zip(weights[1:], older, strict=True)), weights[0] * y_c.float()
            ).to(y_c.dtype)
            for y_c, *older in zip(*(kept.outputs for kept in history), strict=True)
        )


def predictor_for(policy: Policy, measure: Measure) -> Predictor | TaylorSeries:
    """The predictor a policy is published with; where changes are measured, x_c and y_c are kept anyway."""
    if isinstance(policy, TaylorSeer):
        return TaylorSeries(policy.order)
    return ResidualReuse() if measure is Measure.CHANGES else StoredResidual()
