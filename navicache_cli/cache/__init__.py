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
    from navicache_cli.cache.policies.budget import Budget
    from navicache_cli.cache.policies.easycache import EasyCache
    from navicache_cli.cache.policies.estimators import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
    from navicache_cli.cache.policies.factory import ESTIMATORS, METHOD_SETTINGS, METHODS, make_policy
    from navicache_cli.cache.policies.fbcache import FirstBlockCache
    from navicache_cli.cache.policies.magcache import MagCache, MeasureRatios
    from navicache_cli.cache.policies.navicache import NaviCache
    from navicache_cli.cache.policies.off import Off
    from navicache_cli.cache.policies.pab import PyramidAttentionBroadcast
    from navicache_cli.cache.policies.policy import (
        Decision,
        Measure,
        Measured,
        Policy,
        PredictorSpec,
        Region,
        Signal,
    )
    from navicache_cli.cache.policies.taylorseer import TaylorSeer
    from navicache_cli.cache.policies.teacache import TeaCache
    from navicache_cli.cache.predictors.calibrated import Calibrated
    from navicache_cli.cache.predictors.factory import make_predictor
    from navicache_cli.cache.predictors.hold import HoldOutput
    from navicache_cli.cache.predictors.predictor import Predictor
    from navicache_cli.cache.predictors.residual import ResidualReuse, StoredResidual
    from navicache_cli.cache.predictors.taylor import TaylorSeries
    from navicache_cli.cache.recording.recorder import Recorder
    from navicache_cli.cache.recording.trajectory import Trajectory, replay
    from navicache_cli.cache.session.record import StepRecord
    from navicache_cli.cache.session.session import Session
    from navicache_cli.cache.sites.architecture import Architecture
    from navicache_cli.cache.sites.attention_site import AttentionSite
    from navicache_cli.cache.sites.site import ForwardSite, ModelsSite, Site, attach
    from navicache_cli.cache.sites.stack_site import StackSite

_HOMES = {
    "sites.architecture": ("Architecture",),
    "sites.attention_site": ("AttentionSite",),
    "policies.budget": ("Budget",),
    "predictors.calibrated": ("Calibrated",),
    "policies.easycache": ("EasyCache",),
    "policies.estimators": ("DualKalman", "Estimator", "ScalarKalman", "ZeroOrderHold"),
    "policies.factory": ("ESTIMATORS", "METHOD_SETTINGS", "METHODS", "make_policy"),
    "policies.fbcache": ("FirstBlockCache",),
    "policies.magcache": ("MagCache", "MeasureRatios"),
    "policies.navicache": ("NaviCache",),
    "policies.off": ("Off",),
    "policies.pab": ("PyramidAttentionBroadcast",),
    "policies.policy": ("Decision", "Measure", "Measured", "Policy", "PredictorSpec", "Region", "Signal"),
    "predictors.hold": ("HoldOutput",),
    "predictors.predictor": ("Predictor",),
    "predictors.residual": ("ResidualReuse", "StoredResidual"),
    "predictors.taylor": ("TaylorSeries",),
    "predictors.factory": ("make_predictor",),
    "session.record": ("StepRecord",),
    "recording.recorder": ("Recorder",),
    "session.session": ("Session",),
    "sites.site": ("ForwardSite", "ModelsSite", "Site", "attach"),
    "sites.stack_site": ("StackSite",),
    "policies.taylorseer": ("TaylorSeer",),
    "policies.teacache": ("TeaCache",),
    "recording.trajectory": ("Trajectory", "replay"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ESTIMATORS",
    "METHODS",
    "METHOD_SETTINGS",
    "Architecture",
    "AttentionSite",
    "Budget",
    "Calibrated",
    "Decision",
    "DualKalman",
    "EasyCache",
    "Estimator",
    "FirstBlockCache",
    "ForwardSite",
    "HoldOutput",
    "MagCache",
    "Measure",
    "MeasureRatios",
    "Measured",
    "ModelsSite",
    "NaviCache",
    "Off",
    "Policy",
    "Predictor",
    "PredictorSpec",
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
