"""Predictors by the names the command line uses."""

from __future__ import annotations

from collections.abc import Callable

from navicache_cli.cache.policies.factory import PREDICTORS
from navicache_cli.cache.predictors.calibrated import Calibrated
from navicache_cli.cache.predictors.predictor import HoldOutput, ResidualReuse
from navicache_cli.cache.session.memory import AnyPredictor
from navicache_cli.errors import UsageError


def make_predictor(name: str) -> AnyPredictor:
    """Make the predictor called `name`, one of `factory.PREDICTORS`, for one session.

    Raises:
        UsageError: an unknown name.
    """
    makers: dict[str, Callable[[], AnyPredictor]] = {
        "residual": ResidualReuse,
        "hold": HoldOutput,
        "calibrated": Calibrated,
    }
    if name not in makers:
        raise UsageError(f"unknown predictor {name!r}", hint=f"known predictors: {', '.join(PREDICTORS)}")
    return makers[name]()
