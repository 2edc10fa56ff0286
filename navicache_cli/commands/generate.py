"""`navicache generate`: from a plan to a video and its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..cache.factory import METHOD_SETTINGS
from ..errors import UsageError
from ..methods import about_options, about_steps
from ..plan import Layer, Plan, environment_layer, output_path, parse_assignments, resolve
from ..presets import OFF, read_yaml

if TYPE_CHECKING:
    from backends.protocol import Backend, Pipeline

    from ..cache import StepRecord
    from ..report import Baseline, Report
    from ..runner import Clock, Run

    Runs = tuple[Run, Run | None]  # cached, and uncached where there is a baseline
    Watch = Callable[[str, int], AbstractContextManager[Callable[[StepRecord], None]]]


def read_prompt(path: str) -> str:
    """Read a prompt from a file, or from standard input for "-"; line breaks become spaces.

    Raises:
        UsageError: the file is missing, empty, or not UTF-8 text.
    """
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        prompt = " ".join(raw.decode("utf-8-sig").split())
    except OSError as error:
        raise UsageError(f"cannot read the prompt file {path}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"the prompt file {path} is not UTF-8 text", "save it as UTF-8") from None
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
    plan: Plan, *, quiet: bool = False, as_json: bool = False, dry_run: bool = False
) -> Report | None:
    """Run a plan and show the result; `dry_run` only shows the plan.

    Of several processes on one video only the first writes, shows and returns anything.

    Raises:
        NavicacheError: see the error classes; nothing is left half-written.
    """
    from .. import terminal
    from ..distributed import check_processes, leave_processes, read_launch

    launch = read_launch()
    if dry_run:
        if launch.first:
            _show_plan(plan, as_json)
        return None
    check_processes(plan, launch)

    from backends.registry import get_backend

    from ..runner import Clock
    from ..video import check_writable

    clock = Clock()
    quiet = quiet or not launch.first
    backend = get_backend(plan.model)
    notes = check_with_backend(backend, plan)
    path = output_path(plan)
    if launch.first:
        check_writable(path, plan.overwrite)
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
    report = write_result(plan, pipeline, path, path.with_suffix(".json"), runs, load_seconds, clock, notes)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    elif quiet:
        print(report.output.path)
    else:
        terminal.show_summary(report)
    return report


def _show_plan(plan: Plan, as_json: bool) -> None:
    from .. import terminal

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
    """Run a plan, and uncached too if it asks for that.

    Args:
        pipeline: the loaded model.
        plan: what to generate.
        watch: called with a title and the number of steps; the context it returns gives what is called with
            each finished step.
    """
    from ..runner import run

    with watch(f"{plan.model} {plan.pace}", plan.steps) as on_step:
        cached = run(pipeline, plan, on_step=on_step)
    if not plan.baseline:
        return cached, None
    with watch("uncached", plan.steps) as on_step:
        return cached, run(pipeline, replace(plan, mode=OFF, method=OFF, trajectory=False), on_step=on_step)


def write_result(
    plan: Plan,
    pipeline: Pipeline,
    path: Path,
    report_path: Path,
    runs: Runs,
    load_seconds: float,
    clock: Clock,
    notes: list[str],
) -> Report:
    """Write video and report, in this order and each in one move, and return the report."""
    from ..report import Output, Report, Timings, machine_facts, write_report
    from ..runner import Clock, step_reports, totals
    from ..video import to_uint8, write_video

    cached, uncached = runs
    recorder = cached.session.recorder
    recorded = recorder.trajectory if recorder else None
    writing = Clock()
    frames = to_uint8(cached.video)
    info = write_video(
        frames, path, plan.fps, metadata=video_tags(plan, pipeline.identity.name), overwrite=plan.overwrite
    )
    write_seconds = writing()
    report = Report(
        plan=plan_document(plan),
        model=pipeline.identity,
        machine=machine_facts(),
        timings_s=Timings(
            load=load_seconds,
            text=cached.seconds["text"],
            denoise=cached.seconds["denoise"],
            decode=cached.seconds["decode"],
            write=write_seconds,
            total=clock(),
        ),
        steps=step_reports(cached.session),
        totals=totals(cached.session),
        output=Output(str(info.path), info.sha256, info.frames, info.width, info.height, info.fps),
        baseline=None if uncached is None else _compare(cached, uncached),
        trajectory=None if recorded is None else recorded.to_json(),
        notes=tuple(notes),
    )
    write_report(report, report_path)
    return report


def _compare(cached: Run, uncached: Run) -> Baseline:
    from ..metrics import compare_videos
    from ..report import Baseline
    from ..video import to_uint8

    fidelity = compare_videos(to_uint8(cached.video), to_uint8(uncached.video))
    seconds = uncached.seconds["denoise"]
    return Baseline(
        denoise_s=seconds,
        speedup=seconds / cached.seconds["denoise"],
        psnr=fidelity.psnr,
        ssim=fidelity.ssim,
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
