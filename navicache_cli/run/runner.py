"""Runs one plan on a loaded pipeline under a cache session, and sums up what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.cache.session.error_estimate import CONFIDENCE
from navicache_cli.errors import OutOfMemoryError, one_line
from navicache_cli.plan.method import policy_for
from navicache_cli.report.peak_memory import Peak, PeakMemory
from navicache_cli.report.report import FitReport, ModelIdentity, PredictedError, StepReport, Totals, finite
from navicache_cli.report.speed import Timings, make_timings

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Pipeline
    from navicache_cli.cache import Policy, Session, StepRecord
    from navicache_cli.cache.predictors.predictor import MakePredictor
    from navicache_cli.cache.predictors.trend import Fit
    from navicache_cli.plan.plan import Plan


WARM_UP_STEPS = 4
_warm: set[tuple[ModelIdentity, str, int]] = set()  # model, size and frames that ran in this process


@dataclass(frozen=True)
class Run:
    """One finished generation.

    Attributes:
        video: [3, F, H, W] float in [-1, 1], on the CPU; F may be 0 on processes other than the first.
        session: the session that accompanied it, its tensors dropped, its records complete.
        seconds: wall-clock seconds of the stages `text`, `denoise` and `decode`.
        cpu_seconds: CPU time of this process in the same.
        peak_memory: the most in use between its start and its end.
    """

    video: Tensor
    session: Session
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    peak_memory: Peak

    @property
    def timings(self) -> Timings:
        """Its seconds; loading and writing take none."""
        return make_timings(self.seconds, self.cpu_seconds)


def run(
    pipeline: Pipeline,
    plan: Plan,
    on_step: Callable[[StepRecord], None] | None = None,
    policy: Policy | None = None,
    predictor: MakePredictor | None = None,
) -> Run:
    """Generate the video of a plan.

    Args:
        pipeline: the loaded model.
        plan: what to generate, how to cache, and whether to record.
        on_step: called with the record of each finished step.
        policy: decides in the place of the plan's method.
        predictor: makes predictors in the place of the plan's.

    Raises:
        OutOfMemoryError: the GPU's memory did not suffice.
        SiteError: the cache does not fit the model.
    """
    import torch

    from backends.protocol import Stages
    from navicache_cli.cache import Recorder, Session, attach
    from navicache_cli.cache.predictors.factory import make_predictor
    from navicache_cli.launch import agreement

    if predictor is None and policy is None and plan.method in PREDICTED_METHODS:
        predictor = partial(make_predictor, plan.predictor)
    policy = policy or policy_for(plan)
    recorder = Recorder() if plan.trajectory else None
    session = Session(policy, plan.steps, predictor, on_step, agreement(), recorder, plan.max_error or None)
    stages, peak = Stages(), PeakMemory()
    try:
        with attach(pipeline.site(policy.region), session):
            video = pipeline.generate(plan, stages)
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"the GPU ran out of memory: {one_line(error, 160)}",
            "try a smaller --size or fewer --frames",
        ) from error
    _warm.add(_what_warms(pipeline, plan))
    return Run(video, session, stages.seconds, stages.cpu_seconds, peak.read())


def is_warm(pipeline: Pipeline, plan: Plan) -> bool:
    """Whether this process has run such a plan before; see `warm_up_plan`."""
    return _what_warms(pipeline, plan) in _warm


def _what_warms(pipeline: Pipeline, plan: Plan) -> tuple[ModelIdentity, str, int]:
    return pipeline.identity, plan.size, plan.frames


def warm_up_plan(plan: Plan) -> Plan:
    """Return the plan of a short run before runs that are compared: none of them should pay for first calls.

    These load kernels and fill pools of memory. A budget may be beyond the reach of so few steps.
    """
    return replace(
        plan,
        steps=min(WARM_UP_STEPS, plan.steps),
        speedup=0.0,
        compute=0.0,
        baseline=False,
        trajectory=False,
    )


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


def totals(run: Run) -> Totals:
    """Sum up a finished run."""
    session = run.session
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
        peak_memory_bytes=run.peak_memory.bytes,
        peak_memory_of=run.peak_memory.of,
        speedup_bound=steps / max(computed, 1),
        predicted_error=predicted_error(session),
    )


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Return the seconds passed."""
        return time.perf_counter() - self._start
