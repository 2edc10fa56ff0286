"""One generation from its checks to the published video and report, for every command that makes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli import __version__
from navicache_cli.plan.keys import own_settings
from navicache_cli.plan.method import about_options, about_steps
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import OPTIONS, SAMPLER, options_with
from navicache_cli.plan.plan import Plan, plan_document
from navicache_cli.plan.schedules import about_schedule

if TYPE_CHECKING:
    from backends.protocol import Backend, Pipeline
    from navicache_cli.cache import StepRecord
    from navicache_cli.report.report import Baseline, Report
    from navicache_cli.run.runner import Run

    Runs = tuple[Run, Run | None]  # cached, and uncached where there is a baseline
    Watch = Callable[[str, int], AbstractContextManager[Callable[[StepRecord], None]]]


def check_with_backend(backend: Backend, plan: Plan) -> list[str]:
    """Check the plan with its backend and the GPU's memory, and collect what the user should know."""
    from backends.official.environments import environment_notes
    from navicache_cli.plan.memory import check_memory
    from navicache_cli.report.peak_memory import gpu_gigabytes

    notes = [*environment_notes(plan.model), *backend.check(plan)]
    gigabytes = gpu_gigabytes()
    memory = [] if gigabytes is None else check_memory(plan, gigabytes)
    return [*notes, *memory, *about_steps(plan), *about_options(plan), *about_schedule(plan)]


def run_plan(pipeline: Pipeline, plan: Plan, watch: Watch) -> Runs:
    """Run a plan, and uncached too if it asks for that; then neither run pays for first calls.

    Args:
        pipeline: the loaded model.
        plan: what to generate.
        watch: called with a title and the number of steps; the context it returns gives what is called with
            each finished step.
    """
    from navicache_cli.run.runner import is_warm, run, warm_up_plan

    if plan.baseline and not is_warm(pipeline, plan):
        short = warm_up_plan(plan)
        with watch("warm-up", short.steps) as on_step:
            run(pipeline, short, on_step=on_step)
    with watch(f"{plan.model} {plan.pace}", plan.steps) as on_step:
        cached = run(pipeline, plan, on_step=on_step)
    if not plan.baseline:
        return cached, None
    with watch("uncached", plan.steps) as on_step:
        return cached, run(pipeline, plan.uncached(), on_step=on_step)


def write_result(
    plan: Plan,
    pipeline: Pipeline,
    places: Iterable[tuple[Path, Path]],
    runs: Runs,
    load_seconds: float,
    notes: list[str],
) -> Report:
    """Write video and report at the first of the places that is free, and return the report.

    Raises:
        OutputError: see `produce.publish_result`; nothing is left then.
    """
    from msgspec import UNSET

    from navicache_cli.cache import Recorder
    from navicache_cli.media.video import VideoInfo, to_uint8
    from navicache_cli.report.report import Output, Recorded, Report, machine_facts
    from navicache_cli.report.speed import make_timings
    from navicache_cli.report.steps import notes_on, step_reports
    from navicache_cli.run.produce import publish_result
    from navicache_cli.run.runner import Clock, totals

    cached, uncached = runs
    recorder = cached.session.recorder
    recorded = recorder.trajectory if isinstance(recorder, Recorder) else None
    compared = None if uncached is None else _compare(cached, uncached)
    writing = Clock()

    def report_for(info: VideoInfo) -> Report:
        return Report(
            plan=plan_document(plan),
            model=pipeline.identity,
            machine=machine_facts(),
            timings_s=make_timings(cached.seconds, cached.cpu_seconds, load_seconds, writing()),
            steps=step_reports(cached.session),
            totals=totals(cached),
            output=Output(str(info.path), info.sha256, info.frames, info.width, info.height, info.fps),
            baseline=compared or UNSET,
            trajectory=UNSET if recorded is None else Recorded(**recorded.to_json()),
            notes=(*notes, *notes_on(cached.session)),
        )

    tags = video_tags(plan, pipeline.identity.name)
    return publish_result(to_uint8(cached.video), plan.fps, tags, report_for, places, plan.overwrite)


def _compare(cached: Run, uncached: Run) -> Baseline:
    from navicache_cli.media.fidelity import compare_videos, means_of
    from navicache_cli.media.video import to_frames
    from navicache_cli.report.report import Baseline
    from navicache_cli.report.speed import speedup

    fidelity = compare_videos(to_frames(cached.video), to_frames(uncached.video))
    timings = uncached.timings
    return Baseline(
        denoise_s=timings.denoise,
        denoise_cpu_s=timings.cpu["denoise"],
        total_s=timings.total,
        speedup=speedup(timings, cached.timings),
        fidelity=means_of(fidelity),
    )


def video_tags(plan: Plan, model: str) -> dict[str, str]:
    """Tags for the MP4: that it is AI-generated, by what, and how to make it again."""
    names = {*options_with(Use.CACHE), *own_settings(plan.method)}
    names.update(name for name, option in OPTIONS.items() if option.panel == SAMPLER)
    # A file is a path of this machine, which says nothing to others.
    settings = {name: value for name, value in plan.values().items() if name in names - {*plan.files()}}
    return {
        "title": plan.prompt,
        "comment": (
            f"AI-generated video. Model: {model}. Cache: {plan.method} ({plan.pace}). Seed: {plan.seed}."
        ),
        "encoder_software": f"navicache {__version__}",
        "navicache": json.dumps(settings),
    }
