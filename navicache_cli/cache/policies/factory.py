"""Methods and estimators by the names the command line and the presets use. Imports no torch."""

from __future__ import annotations

from typing import Any

from navicache_cli.cache.policies.budget import Budget
from navicache_cli.cache.policies.easycache import EasyCache
from navicache_cli.cache.policies.estimators import DualKalman, Estimator, ScalarKalman
from navicache_cli.cache.policies.fbcache import FirstBlockCache
from navicache_cli.cache.policies.magcache import MagCache
from navicache_cli.cache.policies.navicache import NaviCache
from navicache_cli.cache.policies.off import Off
from navicache_cli.cache.policies.pab import PyramidAttentionBroadcast
from navicache_cli.cache.policies.policy import Policy
from navicache_cli.cache.policies.taylorseer import TaylorSeer
from navicache_cli.cache.policies.teacache import TeaCache
from navicache_cli.errors import UsageError

# Rebuild a skipped output; see `predictors.factory.make_predictor`.
PREDICTORS = ("residual", "hold", "calibrated")
# Methods whose predictor may be chosen: the other papers' methods bring their own.
PREDICTED_METHODS = ("navicache", "easycache")
# Methods that need nothing of a model but its own region; the others need what only its family can tell.
GENERAL_METHODS = ("off", *PREDICTED_METHODS)
# Each of the other methods with the settings that it alone takes.
METHOD_SETTINGS: dict[str, tuple[str, ...]] = {
    "teacache": ("coefficients",),
    "magcache": ("ratios", "max_skips", "retention"),
    "pab": ("broadcast", "window"),
    "fbcache": (),
    "taylorseer": ("interval", "order"),
}
# Options of every method that some do not look at.
IGNORED_BY: dict[str, tuple[str, ...]] = {
    "off": ("threshold", "align_steps", "estimator", "predictor", "max_error"),
    "pab": ("threshold", "align_steps", "estimator"),
    "taylorseer": ("threshold", "estimator"),
    "magcache": ("align_steps", "estimator"),
    "easycache": ("estimator",),
    "teacache": ("estimator",),
    "fbcache": ("estimator",),
}
METHODS = (*GENERAL_METHODS, *METHOD_SETTINGS)
_ESTIMATORS: dict[str, type[ScalarKalman] | type[DualKalman]] = {"scalar": ScalarKalman, "dual": DualKalman}
ESTIMATORS = tuple(_ESTIMATORS)


def make_policy(
    name: str,
    *,
    threshold: float,
    align_steps: int,
    estimator: str = "scalar",
    compute: float = 0.0,
    **settings: Any,
) -> Policy:
    """Build the policy called `name`, in the state of a fresh generation.

    Args:
        name: one of `METHODS`.
        threshold: τ, relative; at least 0; see `IGNORED_BY`.
        align_steps: A, how many first steps are always computed.
        estimator: one of `ESTIMATORS`.
        compute: share of the steps to compute, in the place of `threshold`, or 0. For `PREDICTED_METHODS`.
        settings: those of the method, see `METHOD_SETTINGS` and its class.

    Raises:
        UsageError: an unknown name, a setting of another method, or a number out of range.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}", hint=f"known methods: {', '.join(METHODS)}")
    taken = METHOD_SETTINGS.get(name, ())
    for setting in settings:
        if setting not in taken:
            raise UsageError(
                f"expected settings of {name} ({', '.join(taken) or 'it has none'}), found {setting!r}",
                hint=f"leave {setting} out",
            )
    budget = Budget(compute) if compute and name in PREDICTED_METHODS else None
    makers: dict[str, Any] = {
        "off": Off,
        "easycache": lambda: EasyCache(threshold, align_steps, budget),
        "navicache": lambda: NaviCache(threshold, align_steps, _make_estimator(estimator), budget),
        "teacache": lambda: TeaCache(threshold, align_steps, **settings),
        "magcache": lambda: MagCache(threshold, **settings),
        "pab": lambda: PyramidAttentionBroadcast(**settings),
        "fbcache": lambda: FirstBlockCache(threshold, align_steps),
        "taylorseer": lambda: TaylorSeer(align_steps, **settings),
    }
    policy: Policy = makers[name]()
    return policy


def _make_estimator(name: str) -> Estimator:
    if name not in _ESTIMATORS:
        raise UsageError(f"unknown estimator {name!r}", hint=f"known estimators: {', '.join(ESTIMATORS)}")
    return _ESTIMATORS[name]()
