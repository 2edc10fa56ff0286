"""TaylorSeer (ICCV 2025, arXiv 2503.06923): compute at a fixed interval, extrapolate in between."""

from __future__ import annotations

from dataclasses import dataclass

from navicache_cli.cache.policies.policy import (
    Decision,
    PredictorSpec,
    Region,
    Signal,
    Unmeasured,
    check_count,
)
from navicache_cli.cache.policies.settings import setting
from navicache_cli.values import read_integer


@dataclass(frozen=True)
class TaylorSeerSettings:
    """What it takes of a plan; see `TaylorSeer`.

    Attributes:
        interval: N.
        order: O.
    """

    interval: int = setting(5, read_integer, "3")
    order: int = setting(1, read_integer, "1")


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
            interval, "interval", 1, hint="interval=3 computes every third step; 5 is the published one"
        )
        self.order = check_count(order, "order", 0, hint="order=1 is the published one")
        self.predictor = PredictorSpec("taylor", {"order": order})

    def decide(self, index: int, signal: float | None) -> Decision:
        first = max(self.align_steps, 1)
        if index < first:
            return Decision(compute=True, forced=True)
        return Decision(compute=(index - first + 1) % self.interval == 0)
