"""First-block cache: what the first block adds tells whether the other blocks need to run."""

from __future__ import annotations

import math

from navicache_cli.cache.policies.policy import (
    Decision,
    Region,
    Signal,
    Unmeasured,
    check_count,
    check_threshold,
)


class FirstBlockCache(Unmeasured):
    """The first block always runs; the others are skipped while its residual r stays near the kept one.

    Skip exactly when ‖r_i − r_c‖ / ‖r_c‖ < τ, c the last computed step: nothing accumulates. A skipped step
    adds the residual of the blocks after the first to the first block's output. From ParaAttention
    (chengzeyi/ParaAttention, README, "First Block Cache") and `diffusers/hooks/first_block_cache.py`, which
    skips at equality too.

    Args:
        threshold: τ, relative; at least 0. A larger one skips more.
        align_steps: how many first steps are always computed; the very first is in any case.

    Raises:
        UsageError: a number is out of range.
    """

    name = "fbcache"
    region = Region.TAIL
    signal = Signal.FIRST_BLOCK

    def __init__(self, threshold: float, align_steps: int = 0) -> None:
        self.threshold = check_threshold(threshold)
        self.align_steps = check_count(align_steps, "align_steps", 0, hint="0 is the published one")

    def decide(self, index: int, change: float | None) -> Decision:
        """Decide step `index`; `change` is ‖r_i − r_c‖ / ‖r_c‖."""
        if index < self.align_steps or change is None:
            return Decision(compute=True, forced=True, accumulated_error=0.0)
        skip = math.isfinite(change) and change < self.threshold
        return Decision(not skip, predicted_change=change, accumulated_error=change)
