"""TaylorSeer (ICCV 2025, arXiv 2503.06923): compute at a fixed interval, extrapolate in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from navicache_cli.cache.policies.policy import Decision, Region, Signal, Unmeasured, check_count


class TaylorSeer(Unmeasured):
    """Compute the first A steps and then every N-th; a skipped output is extrapolated from computed ones.

    Computed are the steps i < A and those where (i − A + 1) is a multiple of N. Rule and formula:
    TaylorSeer-Wan2.1/wan/taylorseer and TaylorSeer-HunyuanVideo/hyvideo/modules (cache_functions/cal_type.py
    with first_enhance = A and fresh_threshold = N, taylor_utils) of Shenyi-Z/TaylorSeer at 288776d. There
    every attention and feed-forward is extrapolated for itself; here the output of the cached region is, as
    in that project's and diffusers' "lite" variants, at a small fraction of the memory.

    Args:
        align_steps: A, how many first steps are always computed; at least the first is.
        interval: N; 1 computes every step.
        order: O, of the expansion; 0 holds the last output.

    Raises:
        UsageError: a number is out of range.
    """

    name = "taylorseer"
    region = Region.OWN
    signal = Signal.NONE

    def __init__(self, align_steps: int = 1, interval: int = 5, order: int = 1) -> None:
        self.align_steps = check_count(align_steps, "align_steps", 0, hint="1 is the published one")
        self.interval = check_count(
            interval, "interval", 1, hint="--set interval=3 computes every third step; 5 is the published one"
        )
        self.order = check_count(order, "order", 0, hint="--set order=1 is the published one")

    def decide(self, index: int, signal: float | None) -> Decision:
        """Decide step `index`; the signal is not used."""
        first = max(self.align_steps, 1)
        if index < first:
            return Decision(compute=True, forced=True)
        return Decision(compute=(index - first + 1) % self.interval == 0)


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
