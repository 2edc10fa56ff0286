"""NaviCache (ICML 2026, arXiv 2606.26795): the ratio is tracked by a Kalman filter."""

from __future__ import annotations

from navicache_cli.cache.policies.budget import Budget
from navicache_cli.cache.policies.estimators import Estimator, ScalarKalman
from navicache_cli.cache.policies.gate import ErrorGate


class NaviCache(ErrorGate):
    """The error gate with a filtered feature-change ratio.

    Args:
        threshold: τ, relative; at least 0.
        align_steps: A, how many first steps are always computed.
        estimator: the filter; `ScalarKalman`, which the presets' thresholds were set with, if left out.
        budget: sets the threshold; see `ErrorGate`.

    Raises:
        UsageError: `threshold` or `align_steps` is out of range.
    """

    name = "navicache"

    def __init__(
        self,
        threshold: float,
        align_steps: int,
        estimator: Estimator | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(threshold, align_steps, estimator or ScalarKalman(), budget)
