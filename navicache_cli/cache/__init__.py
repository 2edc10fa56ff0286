"""The caching core: policies decide, a session keeps tensors, a site binds them to a model.

    policy = make_policy("navicache", threshold=0.05, align_steps=10)
    session = Session(policy, total_steps=50)
    with attach(ForwardSite(model, timestep="t", inputs="x"), session):
        video = pipeline(prompt)

Names are imported on first use, so policies can be had without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navicache_cli.cache.easycache import EasyCache
    from navicache_cli.cache.estimator import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
    from navicache_cli.cache.factory import ESTIMATORS, METHODS, make_policy
    from navicache_cli.cache.navicache import NaviCache
    from navicache_cli.cache.off import Off
    from navicache_cli.cache.policy import Decision, Features, Policy
    from navicache_cli.cache.predictor import Predictor, ResidualReuse
    from navicache_cli.cache.record import StepRecord
    from navicache_cli.cache.recorder import Recorder
    from navicache_cli.cache.session import Session
    from navicache_cli.cache.site import ForwardSite, Site, StackSite, attach
    from navicache_cli.cache.trajectory import Trajectory, replay

_HOMES = {
    "easycache": ("EasyCache",),
    "estimator": ("DualKalman", "Estimator", "ScalarKalman", "ZeroOrderHold"),
    "factory": ("ESTIMATORS", "METHODS", "make_policy"),
    "navicache": ("NaviCache",),
    "off": ("Off",),
    "policy": ("Decision", "Features", "Policy"),
    "predictor": ("Predictor", "ResidualReuse"),
    "record": ("StepRecord",),
    "recorder": ("Recorder",),
    "session": ("Session",),
    "site": ("ForwardSite", "Site", "StackSite", "attach"),
    "trajectory": ("Trajectory", "replay"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ESTIMATORS",
    "METHODS",
    "Decision",
    "DualKalman",
    "EasyCache",
    "Estimator",
    "Features",
    "ForwardSite",
    "NaviCache",
    "Off",
    "Policy",
    "Predictor",
    "Recorder",
    "ResidualReuse",
    "ScalarKalman",
    "Session",
    "Site",
    "StackSite",
    "StepRecord",
    "Trajectory",
    "ZeroOrderHold",
    "attach",
    "make_policy",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
