"""Predictors by their names."""

from __future__ import annotations

from functools import partial
from typing import Any

from navicache_cli.cache.policies.factory import PREDICTORS
from navicache_cli.cache.policies.policy import PredictorSpec
from navicache_cli.cache.predictors.calibrated import Calibrated
from navicache_cli.cache.predictors.hold import HoldOutput
from navicache_cli.cache.predictors.predictor import MakePredictor, Predictor
from navicache_cli.cache.predictors.residual import ResidualReuse, StoredResidual
from navicache_cli.cache.predictors.taylor import TaylorSeries
from navicache_cli.errors import UsageError

_KINDS: dict[str, Any] = {
    kind.name: kind for kind in (ResidualReuse, HoldOutput, Calibrated, StoredResidual, TaylorSeries)
}


def make_predictor(name: str, **settings: Any) -> Predictor:
    """Make the predictor called `name` for one branch.

    Args:
        name: one of `policies.factory.PREDICTORS`, or what another paper's method names as its own.
        settings: those of its class.

    Raises:
        UsageError: an unknown name.
    """
    if name not in _KINDS:
        raise UsageError(f"unknown predictor {name!r}", hint=f"known predictors: {', '.join(PREDICTORS)}")
    predictor: Predictor = _KINDS[name](**settings)
    return predictor


def maker_of(spec: PredictorSpec) -> MakePredictor:
    """What makes the predictors of a generation's branches, one for each."""
    return partial(make_predictor, spec.name, **spec.settings)
