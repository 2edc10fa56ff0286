"""Methods and estimators by the names the command line and the presets use. Imports no torch."""

from __future__ import annotations

from navicache_cli.cache.easycache import EasyCache
from navicache_cli.cache.estimator import DualKalman, Estimator, ScalarKalman
from navicache_cli.cache.navicache import NaviCache
from navicache_cli.cache.off import Off
from navicache_cli.cache.policy import Policy
from navicache_cli.errors import UsageError

METHODS = ("off", "navicache", "easycache")
_ESTIMATORS: dict[str, type[ScalarKalman] | type[DualKalman]] = {"scalar": ScalarKalman, "dual": DualKalman}
ESTIMATORS = tuple(_ESTIMATORS)


def make_policy(name: str, *, threshold: float, align_steps: int, estimator: str = "scalar") -> Policy:
    """Build the policy called `name`, in the state of a fresh generation.

    Args:
        name: one of `METHODS`.
        threshold: τ, relative; at least 0. Ignored by "off".
        align_steps: A, how many first steps are always computed. Ignored by "off".
        estimator: one of `ESTIMATORS`. Used by "navicache" only.

    Raises:
        UsageError: an unknown name, or a number out of range.
    """
    if name == "off":
        return Off()
    if name == "easycache":
        return EasyCache(threshold, align_steps)
    if name == "navicache":
        return NaviCache(threshold, align_steps, _make_estimator(estimator))
    raise UsageError(f"unknown method {name!r}", hint=f"known methods: {', '.join(METHODS)}")


def _make_estimator(name: str) -> Estimator:
    if name not in _ESTIMATORS:
        raise UsageError(f"unknown estimator {name!r}", hint=f"known estimators: {', '.join(ESTIMATORS)}")
    return _ESTIMATORS[name]()
