"""`navicache generate`: from a plan to a video and its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli import __version__
from navicache_cli.cache.policies.factory import METHOD_SETTINGS
from navicache_cli.errors import UsageError
from navicache_cli.plan.method import about_options, about_steps
from navicache_cli.plan.plan import Layer, Plan, environment_layer, parse_assignments, resolve
from navicache_cli.plan.presets import OFF, read_yaml
from navicache_cli.reading import expand_user, read_stdin, read_utf8
from navicache_cli.run.names import files_read, result_places

if TYPE_CHECKING:
    from backends.protocol import Backend, Pipeline
    from navicache_cli.cache import StepRecord
    from navicache_cli.report.report import Baseline, Report
    from navicache_cli.run.runner import Run

    Runs = tuple[Run, Run | None]  # cached, and uncached where there is a baseline
    Watch = Callable[[str, int], AbstractContextManager[Callable[[StepRecord], None]]]


MOST_PROMPT = 1 << 20  # bytes; of characters a plan takes far fewer


def read_prompt(path: str) -> str:
    """Read a prompt from a file, or from standard input for "-"; line breaks become spaces.

    Raises:
        UsageError: the file is missing, empty, too large, or not UTF-8 text.
    """
    try:
        text = read_stdin(MOST_PROMPT) if path == "-" else read_utf8(expand_user(path), MOST_PROMPT)
    except OSError as error:
        raise UsageError(
            f"cannot read the prompt file {path}: {error.strerror}",
            "check the path; --prompt-file - reads standard input, or what another program writes",
        ) from None
    prompt = " ".join(text.split())
    if not prompt:
        raise UsageError(f"the prompt file {path} is empty", "write one prompt into it")
    return prompt


def build_plan(
    flags: dict[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> Plan:
    """Merge all layers into a checked plan; see `option_layers`.

    Raises:
        UsageError: see `plan.resolve`.
    """
    return resolve(option_layers(flags, assignments, config, environment))


def option_layers(
    flags: dict[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> list[Layer]:
    """Collect what the user asked for, weakest first.

    Args:
        flags: options given as flags, None where not given.
        assignments: `--set` items.
        config: a YAML file of options.
        environment: variables, such as `os.environ`.

    Raises:
        UsageError: the file cannot be read, or an item has no `=`.
    """
    layers = []
    if config is not None:
        values = {key.replace("-", "_"): value for key, value in read_yaml(config).items()}
        layers.append(Layer(f"config {config.name}", values))
    layers.append(environment_layer(environment))
    layers.append(Layer("--set {name}", parse_assignments(assignments)))
    layers.append(Layer("--{name}", {key: value for key, value in flags.items() if value is not None}))
    return layers


def generate(
    plan: Plan,
    *,
    inputs: Collection[Path] = (),
    quiet: bool = False,
    as_json: bool = False,
    dry_run: bool = False,
) -> Report | None:
    """Run a plan and show the result.

    Of several processes on one video only the first writes, shows and returns anything.

    Args:
        plan: what to generate.
        inputs: files the plan was read from, which no result may replace.
        quiet: print the video's path alone.
        as_json: print the report alone.
        dry_run: only show the plan.

    Raises:
        NavicacheError: see the error classes; nothing is left half-written.
    """
    from navicache_cli import terminal
    from navicache_cli.run.distributed import check_processes, leave_processes, read_launch

    launch = read_launch()
    if dry_run:
        if launch.first:
            _show_plan(plan, as_json)
        return None
    check_processes(plan, launch)

    from backends.registry import get_backend
    from navicache_cli.files import check_new
    from navicache_cli.run.runner import Clock

    clock = Clock()
    quiet = quiet or not launch.first
    backend = get_backend(plan.model)
    notes = check_with_backend(backend, plan)
    places = result_places(plan)
    first = next(places)
    if launch.first:
        for path in first:
            check_new(path, plan.overwrite, [*inputs, *files_read(plan)])
    if not quiet:
        for note in notes:
            terminal.show_note(note)
    # Rich output stops where a JSON document or silence was asked for.
    silent = quiet or as_json
    with nullcontext() if silent else terminal.stderr.status(f"loading {plan.model}"):
        pipeline = backend.load(plan)
    load_seconds = clock()
    runs = run_plan(pipeline, plan, partial(terminal.StepProgress, quiet=quiet))
    leave_processes()
    if not launch.first:
        return None
    report = write_result(plan, pipeline, chain([first], places), runs, load_seconds, notes)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    elif quiet:
        terminal.show_path(report.output.path)
    else:
        terminal.show_summary(report)
    return report


def _show_plan(plan: Plan, as_json: bool) -> None:
    from navicache_cli import terminal

    if as_json:
        print(json.dumps(plan_document(plan), indent=1))
    else:
        terminal.stdout.print(terminal.plan_table(plan))


def plan_document(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return each option with its value and its source, as reports hold them."""
    return {key: {"value": value, "source": plan.provenance[key]} for key, value in plan.values().items()}


def check_with_backend(backend: Backend, plan: Plan) -> list[str]:
    """Check the plan with its backend and collect what the user should know."""
    return [*backend.check(plan), *about_steps(plan), *about_options(plan)]


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
        return cached, run(pipeline, replace(plan, mode=OFF, method=OFF, trajectory=False), on_step=on_step)


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
    from navicache_cli.media.video import VideoInfo, to_uint8
    from navicache_cli.report.report import Output, Report, machine_facts
    from navicache_cli.report.speed import make_timings
    from navicache_cli.run.produce import publish_result
    from navicache_cli.run.runner import Clock, step_reports, totals

    cached, uncached = runs
    recorder = cached.session.recorder
    recorded = recorder.trajectory if recorder else None
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
            baseline=compared,
            trajectory=None if recorded is None else recorded.to_json(),
            notes=tuple(notes),
        )

    tags = video_tags(plan, pipeline.identity.name)
    return publish_result(to_uint8(cached.video), plan.fps, tags, report_for, places, plan.overwrite)


def _compare(cached: Run, uncached: Run) -> Baseline:
    from navicache_cli.media.fidelity import compare_videos, means_of
    from navicache_cli.media.video import to_uint8
    from navicache_cli.report.report import Baseline
    from navicache_cli.report.speed import speedup

    fidelity = compare_videos(to_uint8(cached.video), to_uint8(uncached.video))
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
    names = [
        "mode",
        "method",
        "threshold",
        "align_steps",
        "estimator",
        "predictor",
        "max_error",
        "steps",
        "seed",
        "guidance",
        "shift",
        "solver",
        # A file of ratios is a path of this machine, which is nobody's business.
        *(name for name in METHOD_SETTINGS.get(plan.method, ()) if name != "ratios"),
    ]
    settings = {name: getattr(plan, name) for name in names}
    return {
        "title": plan.prompt,
        "comment": (
            f"AI-generated video. Model: {model}. Cache: {plan.method} ({plan.pace}). Seed: {plan.seed}."
        ),
        "encoder_software": f"navicache {__version__}",
        "navicache": json.dumps(settings),
    }
