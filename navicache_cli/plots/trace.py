"""A report's steps as arrays, and what to call it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from navicache_cli.cache.policies.budget import budget_name, share_of
from navicache_cli.errors import OutputError
from navicache_cli.report.report import StepReport, Totals, read_report

# This estimator's variance is that of log k (cache/estimator.py); the others' is that of k.
_LOG_VARIANCE = "dual"
_LARGEST = 1e12  # of any number: none of these quantities comes near
HEADING = ("model", "task", "method", "estimator", "predictor", "mode", "budget")


@dataclass(frozen=True)
class Trace:
    """One generation, step by step; N steps. Where a method has no such quantity an array holds NaN.

    Attributes:
        name: the report's file name without its suffix.
        settings: what decides which steps are skipped: model, task, method, …, steps, as text.
        prompt, seed: as the report has them.
        threshold: τ; None for a method without one.
        thresholds: [N] τ as each step was held against it; NaN where it was not, or where nobody noted it.
        computed, forced: [N] bool.
        error: [N] E at the decision, relative.
        ratio: [N] k as estimated before the step.
        low, high: [N] k ± 2σ; multiplicative where the filter works in logarithms.
        innovation: [N] measured ratio minus k.
        trend: [N] what a calibrated predictor had learnt before the step, and [N] its standard deviation;
            None for other predictors.
        predicted_error: [N] relative error of the final latents as predicted at each step.
        error_bar: the same at the end, and its band: low, error, high; None where none was predicted.
        max_error: its bound; None where there is none.
    """

    name: str
    settings: dict[str, str]
    prompt: str
    seed: str
    threshold: float | None
    thresholds: np.ndarray
    computed: np.ndarray
    forced: np.ndarray
    error: np.ndarray
    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray
    innovation: np.ndarray
    trend: tuple[np.ndarray, np.ndarray] | None
    predicted_error: np.ndarray
    error_bar: tuple[float, float, float] | None
    max_error: float | None

    @property
    def heading(self) -> list[str]:
        """What the generation is called: model, task, method, estimator, mode, as far as they are known."""
        return [self.settings[key] for key in HEADING if key in self.settings]

    @property
    def on_budget(self) -> bool:
        """Whether the threshold was set anew at every step."""
        known = self.thresholds[np.isfinite(self.thresholds)]
        return bool(len(known)) and float(np.ptp(known)) > 0

    @property
    def measured(self) -> np.ndarray:
        """[N] the ratio measured at the step itself: estimate plus innovation."""
        return self.ratio + self.innovation


def read_trace(path: Path) -> Trace:
    """Read a report.

    Raises:
        OutputError: it is not a report, holds no steps, or its numbers make no sense.
    """
    report = read_report(path)
    steps = report.steps
    if not steps or [step.index for step in steps] != list(range(len(steps))):
        raise OutputError(
            f"expected steps numbered from 0 in {path}; found others or none", "generate it again"
        )
    plan = report.plan_values()
    columns = {
        key: _steps_column(steps, key, path)
        for key in ("ratio", "variance", "innovation", "accumulated_error")
    }
    low, high = _band(
        columns["ratio"], columns["variance"], logarithmic=plan.get("estimator") == _LOG_VARIANCE
    )
    return Trace(
        name=path.stem,
        settings=_settings(plan, len(steps)),
        prompt=str(plan.get("prompt") or ""),
        seed=str(plan.get("seed", "")),
        threshold=_threshold(plan),
        thresholds=_steps_column(steps, "threshold", path),
        computed=np.array([step.computed for step in steps]),
        forced=np.array([step.forced for step in steps]),
        error=columns["accumulated_error"],
        ratio=columns["ratio"],
        low=low,
        high=high,
        innovation=columns["innovation"],
        trend=_trend(steps, path),
        predicted_error=_steps_column(steps, "predicted_error", path),
        error_bar=_error_bar(report.totals, path),
        max_error=_number(plan.get("max_error")) or None,
    )


def _steps_column(steps: list[StepReport], key: str, path: Path) -> np.ndarray:
    return _column([getattr(step, key) for step in steps], key, path)


def _column(values: list[float | None], key: str, path: Path) -> np.ndarray:
    """[N] float64, NaN where the report has null."""
    if not all(-_LARGEST < value < _LARGEST for value in values if value is not None):
        raise OutputError(
            f"expected numbers below {_LARGEST:g} in {path}; found others under steps/{key}",
            "generate it again",
        )
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _error_bar(totals: Totals, path: Path) -> tuple[float, float, float] | None:
    bar = totals.predicted_error
    if bar is None:
        return None
    low, error, high = _column([bar.low, bar.relative, bar.high], "predicted_error", path)
    return float(low), float(error), float(high)


def _trend(steps: list[StepReport], path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    fits = [step.fit for step in steps]
    if not any(fits):
        return None
    trend = [None if fit is None else fit.trend for fit in fits]
    deviation = [None if fit is None else fit.trend_deviation for fit in fits]
    return _column(trend, "fit/trend", path), _column(deviation, "fit/trend_deviation", path)


def _band(ratio: np.ndarray, variance: np.ndarray, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """k ± 2σ; in logarithms k · exp(± 2σ)."""
    spread = 2 * np.sqrt(np.maximum(variance, 0))
    if logarithmic:
        spread = np.minimum(spread, 50)  # exp() of more leaves any picture, and then the floats
        return ratio * np.exp(-spread), ratio * np.exp(spread)
    return ratio - spread, ratio + spread


def _settings(plan: dict[str, Any], steps: int) -> dict[str, str]:
    method = plan.get("method")
    names = [*HEADING, "threshold", "align_steps"]
    if method != "navicache":
        names.remove("estimator")  # the plan names one, but the method has none to choose
    if plan.get("predictor") == "residual":
        names.remove("predictor")  # the published one
    if method == "off":
        names = ["model", "task", "method"]
    budget = {}
    speedup, compute = (_number(plan.get(key)) or 0.0 for key in ("speedup", "compute"))
    if method != "off" and (speedup or compute):
        # In the place of what the mode says.
        names = [name for name in names if name not in ("mode", "threshold")]
        budget = {"budget": budget_name(share_of(speedup, compute))}
    found = {name: str(plan[name]) for name in names if plan.get(name) is not None}
    return {**found, **budget, "steps": str(steps)}


def _threshold(plan: dict[str, Any]) -> float | None:
    return None if plan.get("method") == "off" else _number(plan.get("threshold"))


def _number(value: Any) -> float | None:
    """The value, if it is a number that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None
