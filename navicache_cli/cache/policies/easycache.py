"""EasyCache (arXiv 2507.02860): the ratio measured last is held until the next measurement."""

from __future__ import annotations

from navicache_cli.cache.policies.budget import Budget
from navicache_cli.cache.policies.estimators import ZeroOrderHold
from navicache_cli.cache.policies.gate import ErrorGate


class EasyCache(ErrorGate):
    """The error gate with gain 1: k is the last measured ratio.

    Args:
        threshold: τ, relative; at least 0.
        align_steps: A, how many first steps are always computed.
        budget: sets the threshold; see `ErrorGate`.

    Raises:
        UsageError: `threshold` or `align_steps` is out of range.
    """

    name = "easycache"

    def __init__(self, threshold: float, align_steps: int, budget: Budget | None = None) -> None:
        super().__init__(threshold, align_steps, ZeroOrderHold(), budget)
