"""The Taylor expansion of TaylorSeer (ICCV 2025, arXiv 2503.06923), see `policies.taylorseer`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from navicache_cli.cache.predictors.predictor import Keep, Kept, Skipped, Unlearning
from navicache_cli.cache.tensors import Tensors, float32_copy


class TaylorSeries(Unlearning):
    """The expansion in the step number, from the last order + 1 computed outputs; see `taylor_weights`.

    Args:
        order: of the expansion, less where fewer outputs have been computed.
    """

    name = "taylor"
    keeps = Keep.OUTPUTS

    def __init__(self, order: int) -> None:
        self.depth = order + 1

    @torch.no_grad()
    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        """The expansion at the call's step, summed in float32."""
        weights = taylor_weights([kept.step for kept in history], call.step)
        outputs = []
        for newest, *older in zip(*(kept.outputs for kept in history), strict=True):
            total = float32_copy(newest).mul_(weights[0])
            for w, y in zip(weights[1:], older, strict=True):
                total.add_(float32_copy(y).mul_(w))
            outputs.append(total.to(newest.dtype))
        return tuple(outputs)


def taylor_weights(steps: Sequence[int], step: int) -> list[float]:
    """How much each kept output counts in the expansion at `step`, of order len(steps) − 1.

    The j-th derivative is approximated by differences over the gaps between computed steps,
    d_0 = y and d_{j+1}(s_k) = (d_j(s_k) − d_j(s_{k+1})) / (s_k − s_{k+1}), and the output by
    Σ_j d_j(s_0) (step − s_0)^j / j!. All of it is linear in the outputs; these are its coefficients.

    Args:
        steps: the computed steps s_0 > s_1 > …, at least one.
        step: where to extrapolate to.
    """
    count = len(steps)
    # differences[k][n] is the coefficient of the output of steps[n] in d_j(steps[k]).
    differences = [[float(k == n) for n in range(count)] for k in range(count)]
    weights = [0.0] * count
    for order in range(count):
        factor = (step - steps[0]) ** order / math.factorial(order)
        weights = [w + factor * d for w, d in zip(weights, differences[0], strict=True)]
        differences = [
            [(a - b) / (steps[k] - steps[k + 1]) for a, b in zip(newer, older, strict=True)]
            for k, (newer, older) in enumerate(pairwise(differences))
        ]
    return weights
