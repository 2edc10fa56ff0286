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
    from navicache_cli.cache.anatomy import Anatomy
    from navicache_cli.cache.attention_site import AttentionSite
    from navicache_cli.cache.budget import Budget
    from navicache_cli.cache.calibrated import Calibrated
    from navicache_cli.cache.easycache import EasyCache
    from navicache_cli.cache.estimator import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
    from navicache_cli.cache.factory import ESTIMATORS, METHOD_SETTINGS, METHODS, make_policy
    from navicache_cli.cache.fbcache import FirstBlockCache
    from navicache_cli.cache.magcache import Calibration, MagCache
    from navicache_cli.cache.navicache import NaviCache
    from navicache_cli.cache.off import Off
    from navicache_cli.cache.pab import PyramidAttentionBroadcast
    from navicache_cli.cache.policy import Decision, Features, Measure, Policy, Region, Signal
    from navicache_cli.cache.predictor import (
        HoldOutput,
        Predictor,
        ResidualReuse,
        StoredResidual,
        TaylorSeries,
    )
    from navicache_cli.cache.predictors import make_predictor
    from navicache_cli.cache.record import StepRecord
    from navicache_cli.cache.recorder import Recorder
    from navicache_cli.cache.session import Session
    from navicache_cli.cache.site import ForwardSite, Site, attach
    from navicache_cli.cache.stack_site import StackSite
    from navicache_cli.cache.taylorseer import TaylorSeer
    from navicache_cli.cache.teacache import TeaCache
    from navicache_cli.cache.trajectory import Trajectory, replay

_HOMES = {
    "anatomy": ("Anatomy",),
    "attention_site": ("AttentionSite",),
    "budget": ("Budget",),
    "calibrated": ("Calibrated",),
    "easycache": ("EasyCache",),
    "estimator": ("DualKalman", "Estimator", "ScalarKalman", "ZeroOrderHold"),
    "factory": ("ESTIMATORS", "METHODS", "METHOD_SETTINGS", "make_policy"),
    "fbcache": ("FirstBlockCache",),
    "magcache": ("Calibration", "MagCache"),
    "navicache": ("NaviCache",),
    "off": ("Off",),
    "pab": ("PyramidAttentionBroadcast",),
    "policy": ("Decision", "Features", "Measure", "Policy", "Region", "Signal"),
    "predictor": ("HoldOutput", "Predictor", "ResidualReuse", "StoredResidual", "TaylorSeries"),
    "predictors": ("make_predictor",),
    "record": ("StepRecord",),
    "recorder": ("Recorder",),
    "session": ("Session",),
    "site": ("ForwardSite", "Site", "attach"),
    "stack_site": ("StackSite",),
    "taylorseer": ("TaylorSeer",),
    "teacache": ("TeaCache",),
    "trajectory": ("Trajectory", "replay"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ESTIMATORS",
    "METHODS",
    "METHOD_SETTINGS",
    "Anatomy",
    "AttentionSite",
    "Budget",
    "Calibrated",
    "Calibration",
    "Decision",
    "DualKalman",
    "EasyCache",
    "Estimator",
    "Features",
    "FirstBlockCache",
    "ForwardSite",
    "HoldOutput",
    "MagCache",
    "Measure",
    "NaviCache",
    "Off",
    "Policy",
    "Predictor",
    "PyramidAttentionBroadcast",
    "Recorder",
    "Region",
    "ResidualReuse",
    "ScalarKalman",
    "Session",
    "Signal",
    "Site",
    "StackSite",
    "StepRecord",
    "StoredResidual",
    "TaylorSeer",
    "TaylorSeries",
    "TeaCache",
    "Trajectory",
    "ZeroOrderHold",
    "attach",
    "make_policy",
    "make_predictor",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
