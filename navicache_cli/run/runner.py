"""Runs one plan on a loaded pipeline under a cache session, and sums up what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.errors import OutOfMemoryError, one_line
from navicache_cli.plan.method import policy_for
from navicache_cli.plan.presets import OFF
from navicache_cli.plan.schedules import check_made_for
from navicache_cli.report.peak_memory import Peak, PeakMemory
from navicache_cli.report.report import ModelIdentity, Totals
from navicache_cli.report.speed import Timings, make_timings
from navicache_cli.report.steps import session_totals

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Pipeline
    from navicache_cli.cache import Policy, Session, StepRecord
    from navicache_cli.cache.predictors.predictor import MakePredictor
    from navicache_cli.cache.recording.recorder import Records
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
    recorder: Records | None = None,
) -> Run:
    """Generate the video of a plan.

    Args:
        pipeline: the loaded model.
        plan: what to generate, how to cache, and whether to record.
        on_step: called with the record of each finished step.
        policy: decides in the place of the plan's method.
        predictor: makes predictors in the place of the plan's.
        recorder: records in the place of what the plan asks for.

    Raises:
        OutOfMemoryError: the GPU's memory did not suffice.
        SiteError: the cache does not fit the model.
        UsageError: the schedule is another model's.
    """
    import torch

    from backends.protocol import Stages
    from navicache_cli.cache import PredictorSpec, Recorder, Session, attach
    from navicache_cli.cache.predictors.factory import maker_of
    from navicache_cli.launch import agreement

    if predictor is None and policy is None and plan.method in PREDICTED_METHODS:
        predictor = maker_of(PredictorSpec(plan.predictor))
    if policy is None and plan.schedule and plan.method != OFF:
        check_made_for(plan, pipeline.identity)
    policy = policy or policy_for(plan)
    if recorder is None and plan.trajectory:
        recorder = Recorder()
    session = Session(policy, plan.steps, predictor, on_step, agreement(), recorder, plan.max_error or None)
    session.guidance = plan.guidance
    stages, peak = Stages(before_decode=session.release), PeakMemory()
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
        schedule="",
        baseline=False,
        trajectory=False,
    )


def totals(run: Run) -> Totals:
    """Sum up a finished run."""
    return session_totals(run.session, run.peak_memory)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Return the seconds passed."""
        return time.perf_counter() - self._start
