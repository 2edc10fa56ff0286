"""The records of a session in the report's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navicache_cli.cache.session.error_estimate import CONFIDENCE
from navicache_cli.report.peak_memory import PROCESS, Peak
from navicache_cli.report.report import NOT_PREDICTED, FitReport, PredictedError, StepReport, Totals, finite

if TYPE_CHECKING:
    from navicache_cli.cache import Session, StepRecord
    from navicache_cli.cache.predictors.trend import Fit


def step_reports(session: Session) -> list[StepReport]:
    """Copy a session's records into the report's form."""
    return [_step_report(record) for record in session.records]


def _step_report(record: StepRecord) -> StepReport:
    """Flatten a record; numbers that are not finite become null."""
    decision = record.decision
    return StepReport(
        index=record.index,
        timestep=record.timestep,
        computed=decision.compute,
        forced=decision.forced,
        seconds=finite(record.seconds),
        ratio=finite(decision.ratio),
        variance=finite(decision.variance),
        innovation=finite(record.innovation),
        predicted_change=finite(decision.predicted_change),
        accumulated_error=finite(decision.accumulated_error),
        reused=list(decision.reuse),
        threshold=finite(decision.threshold),
        fit=None if record.fit is None else fit_report(record.fit),
        predicted_error=finite(record.predicted_error),
        stopped=decision.stopped,
    )


def fit_report(fit: Fit) -> FitReport:
    """Copy what a predictor knew into the report's form."""
    return FitReport(
        trend=fit.trend,
        trend_deviation=finite(fit.deviation),
        record=finite(fit.record),
        used=fit.used,
        corrects=fit.corrects,
    )


def predicted_error(session: Session) -> PredictedError | None:
    """The predicted error of a finished session's latents; None where none is."""
    bar = session.error_estimate.error_bar
    return None if bar is None else PredictedError(bar.error, bar.low, bar.high, CONFIDENCE)


def notes_on(session: Session) -> list[str]:
    """What a report says of a session in words: why no error is predicted, and what several experts did."""
    reason = session.error_estimate.withheld
    return [*([f"{NOT_PREDICTED}{reason}"] if reason else []), *_experts(session)]


def _experts(session: Session) -> list[str]:
    """What each of several models did, where a session served several."""
    names = list(dict.fromkeys(record.model for record in session.records))
    if len(names) < 2:
        return []
    told = []
    for name in names:
        own = [record.computed for record in session.records if record.model == name]
        told.append(f"{name} {sum(own)} of {len(own)}")
    return [f"steps computed: {', '.join(told)}"]


def session_totals(session: Session, peak_memory: Peak = Peak(0, PROCESS)) -> Totals:  # noqa: B008
    """Sum up a finished session.

    Args:
        session: at least one of its steps has run.
        peak_memory: the most memory in use meanwhile, where that was followed.
    """
    steps = len(session.records)
    computed = sum(record.computed for record in session.records)
    return Totals(
        steps=steps,
        computed_steps=computed,
        skipped_steps=steps - computed,
        skip_ratio=(steps - computed) / steps,
        compute_ratio=computed / steps,
        transformer_calls=session.transformer_calls,
        transformer_calls_saved=session.transformer_calls_saved,
        attention_calls=session.parts.calls,
        attention_calls_saved=session.parts.calls_saved,
        cache_bytes=session.peak_cache_bytes,
        cache_tensors=round(session.peak_cache_bytes / max(session.input_bytes, 1), 2),
        peak_memory_bytes=peak_memory.bytes,
        peak_memory_of=peak_memory.of,
        speedup_bound=steps / max(computed, 1),
        predicted_error=predicted_error(session),
    )
