"""Methods and estimators by the names the command line and the presets use. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from navicache_cli.cache.policies.budget import Budget
from navicache_cli.cache.policies.easycache import EasyCache
from navicache_cli.cache.policies.estimators import DualKalman, Estimator, ScalarKalman
from navicache_cli.cache.policies.fbcache import FirstBlockCache
from navicache_cli.cache.policies.magcache import MagCache, MagCacheSettings
from navicache_cli.cache.policies.navicache import NaviCache
from navicache_cli.cache.policies.off import Off
from navicache_cli.cache.policies.pab import PabSettings, PyramidAttentionBroadcast
from navicache_cli.cache.policies.policy import Policy
from navicache_cli.cache.policies.scheduled import Scheduled
from navicache_cli.cache.policies.settings import NoSettings, settings_of
from navicache_cli.cache.policies.taylorseer import TaylorSeer, TaylorSeerSettings
from navicache_cli.cache.policies.teacache import TeaCache, TeaCacheSettings
from navicache_cli.errors import UsageError

# Rebuild a skipped output; see `predictors.factory.make_predictor`.
PREDICTORS = ("residual", "hold", "calibrated")


@dataclass(frozen=True)
class Method:
    """A caching method.

    Attributes:
        policy: its class. It takes `threshold`, `align_steps` and `estimator` but for those the method
            ignores, `budget` if its outputs are predicted, and its settings.
        settings: the dataclass of settings that it alone takes.
        ignores: options of every method that it does not look at.
        predicted: its predictor may be chosen, and it can keep to a budget; others bring their own predictor.
    """

    policy: Callable[..., Policy]
    settings: type = NoSettings
    ignores: tuple[str, ...] = ("estimator",)
    predicted: bool = False


_METHODS = {
    "off": Method(
        Off, ignores=("threshold", "align_steps", "estimator", "predictor", "schedule", "max_error")
    ),
    "navicache": Method(NaviCache, ignores=(), predicted=True),
    "easycache": Method(EasyCache, predicted=True),
    "teacache": Method(TeaCache, TeaCacheSettings),
    "magcache": Method(MagCache, MagCacheSettings, ignores=("align_steps", "estimator")),
    "pab": Method(PyramidAttentionBroadcast, PabSettings, ignores=("threshold", "align_steps", "estimator")),
    "fbcache": Method(FirstBlockCache),
    "taylorseer": Method(TaylorSeer, TaylorSeerSettings, ignores=("threshold", "estimator")),
}
METHODS = tuple(_METHODS)
PREDICTED_METHODS = tuple(name for name, method in _METHODS.items() if method.predicted)
# Methods that need nothing of a model but its own region; the others need what only its family can tell.
GENERAL_METHODS = ("off", *PREDICTED_METHODS)
# Each of the other methods with the names of the settings that it alone takes.
METHOD_SETTINGS: dict[str, tuple[str, ...]] = {
    name: tuple(settings_of(method.settings))
    for name, method in _METHODS.items()
    if name not in GENERAL_METHODS
}
_ESTIMATORS: dict[str, type[ScalarKalman] | type[DualKalman]] = {"scalar": ScalarKalman, "dual": DualKalman}
ESTIMATORS = tuple(_ESTIMATORS)


def method_called(name: str) -> Method:
    """Return the method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in _METHODS:
        raise UsageError(f"unknown method {name!r}", hint=f"known methods: {', '.join(METHODS)}")
    return _METHODS[name]


def make_policy(
    name: str,
    *,
    threshold: float,
    align_steps: int,
    estimator: str = "scalar",
    compute: float = 0.0,
    schedule: Sequence[bool] = (),
    **settings: Any,
) -> Policy:
    """Build the policy called `name`, in the state of a fresh generation.

    Args:
        name: one of `METHODS`.
        threshold: τ, relative; at least 0; some methods ignore it.
        align_steps: A, how many first steps are always computed.
        estimator: one of `ESTIMATORS`.
        compute: share of the steps to compute, in the place of `threshold`, or 0. For `PREDICTED_METHODS`.
        schedule: for each step whether it is computed, in the place of the method's own decisions. For
            `PREDICTED_METHODS`.
        settings: those of the method, see `METHOD_SETTINGS` and its class.

    Raises:
        UsageError: an unknown name, a setting of another method, or a number out of range.
    """
    method = method_called(name)
    taken = settings_of(method.settings)
    for setting in settings:
        if setting not in taken:
            raise UsageError(
                f"expected settings of {name} ({', '.join(taken) or 'it has none'}), found {setting!r}",
                hint=f"leave {setting} out",
            )
    if schedule and method.predicted:
        return Scheduled(schedule)
    options: dict[str, Any] = {"threshold": threshold, "align_steps": align_steps, "estimator": estimator}
    arguments = {option: value for option, value in options.items() if option not in method.ignores}
    if "estimator" in arguments:
        arguments["estimator"] = _make_estimator(estimator)
    if method.predicted:
        arguments["budget"] = Budget(compute) if compute else None
    return method.policy(**arguments, **settings)


def _make_estimator(name: str) -> Estimator:
    if name not in _ESTIMATORS:
        raise UsageError(f"unknown estimator {name!r}", hint=f"known estimators: {', '.join(ESTIMATORS)}")
    return _ESTIMATORS[name]()
