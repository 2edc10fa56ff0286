"""`navicache schedule`: record uncached generations, and search which steps to compute on each budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli import __version__
from navicache_cli.cache.policies.budget import check_budget, planned_steps
from navicache_cli.errors import UsageError
from navicache_cli.files import check_new, write_atomically
from navicache_cli.plan.core_errors import told_in_options
from navicache_cli.plan.plan import Plan
from navicache_cli.plan.presets import preset_for
from navicache_cli.plan.prompts import read_prompts
from navicache_cli.reading import expand_user
from navicache_cli.values import read_number, split_commas

if TYPE_CHECKING:
    from backends.protocol import Pipeline
    from navicache_cli.cache.recording.recording import Recording
    from navicache_cli.report.report import ModelIdentity
    from navicache_cli.report.schedules import Schedules

PREDICTOR = "calibrated"
RECORDINGS = 4  # of the preset's examples, where no prompt is named
MOST_RECORDINGS = 64
MOST_BUDGETS = 20
_INSTEAD = " on the model's device; --keep-on-cpu keeps them elsewhere"


@dataclass(frozen=True)
class Request:
    """What is asked for beside the options of a plan.

    Attributes:
        speedups: with commas between.
        prompts: a file of them, one a line; else the plan's prompt, or the preset's examples.
        keep_on_cpu: keep recorded outputs in the CPU's memory.
        output: the file to write.
        overwrite: whether it may replace a file.
        quiet: print the path alone.
    """

    speedups: str
    prompts: Path | None
    keep_on_cpu: bool
    output: Path
    overwrite: bool
    quiet: bool


def make_schedules(plan: Plan, request: Request) -> None:
    """Record a generation of each prompt, every step computed, search, and write what is found.

    Args:
        plan: what to generate; its caching options are not used.
        request: the rest.

    Raises:
        NavicacheError: see the error classes; nothing is left half-written.
    """
    speedups = read_speedups(request.speedups, plan.steps)
    plans = recorded_plans(plan, request.prompts)

    from backends.registry import get_backend
    from navicache_cli import terminal
    from navicache_cli.launch import leave_processes, read_launch
    from navicache_cli.plan.parallel import check_processes

    launch = read_launch()
    check_processes(plan, launch)
    output = expand_user(request.output)
    if launch.first:
        check_new(output, request.overwrite, [request.prompts] if request.prompts else [])
    backend = get_backend(plan.model)
    quiet = request.quiet or not launch.first
    for note in dict.fromkeys(note for one in plans for note in backend.check(one)):
        if not quiet:
            terminal.show_note(note)
    pipeline = backend.load(plan)
    recordings = []
    for number, one in enumerate(plans, 1):
        title = f"recording {number} of {len(plans)}"
        recording, size = record(pipeline, one, request.keep_on_cpu, title, quiet)
        recordings.append(recording)
        if number == 1 and not quiet:
            where = "" if request.keep_on_cpu else _INSTEAD
            terminal.show_note(f"its outputs took {size / 2**30:.2g} GiB of memory{where}")
    leave_processes()
    if not launch.first:
        return
    found = search(plan, pipeline.identity, recordings, speedups)
    from navicache_cli.report.schedules import schedules_text

    write_atomically(output, schedules_text(found), request.overwrite)
    if not quiet:
        for schedule in found.schedules:
            terminal.stdout.say(f"{schedule.speedup:g}x  {schedule.computed}")
        terminal.stdout.say(f"use: navicache generate --schedule {output} --speedup {speedups[0]:g}")
    terminal.show_path(output)


def read_speedups(text: str, steps: int) -> list[float]:
    """Read budgets with commas between.

    Raises:
        UsageError: one is no number of at least 1, leaves less than two steps, or there are too many.
    """
    found = []
    for item in filter(None, split_commas(text)):
        try:
            speedup = read_number(item)
        except ValueError as error:
            raise UsageError(f"speedup expects {error}, found {item[:40]!r}", "--speedup 1.5,2,2.5") from None
        with told_in_options():
            check_budget("speedup", speedup)
        if planned_steps(steps, 1 / speedup) < min(2, steps):
            raise UsageError(
                f"expected at least 2 of {steps} steps computed, found a speedup of {speedup:g}",
                "the first and the last step are always computed: --speedup 2",
            )
        found.append(speedup)
    if not 0 < len(found) <= MOST_BUDGETS:
        raise UsageError(
            f"speedup expects 1 to {MOST_BUDGETS} numbers with commas between, found {len(found)}",
            "--speedup 1.5,2,2.5",
        )
    return sorted(set(found))


def recorded_plans(plan: Plan, prompts: Path | None) -> list[Plan]:
    """The generations to record: one of each prompt, with seeds counting up.

    Raises:
        UsageError: the file of prompts cannot be read, or has too many.
    """
    if prompts is not None:
        texts = read_prompts(prompts)
    elif plan.provenance["prompt"].startswith("preset"):
        texts = preset_for(plan.model).examples[:RECORDINGS] or [plan.prompt]
    else:
        texts = [plan.prompt]
    if len(texts) > MOST_RECORDINGS:
        raise UsageError(
            f"expected at most {MOST_RECORDINGS} prompts to record, found {len(texts)}",
            "four are enough; see docs/schedules.md",
        )
    return [replace(plan, prompt=text, seed=plan.seed + k) for k, text in enumerate(texts)]


def record(
    pipeline: Pipeline, plan: Plan, keep_on_cpu: bool, title: str, quiet: bool
) -> tuple[Recording, int]:
    """Run one generation; return what was recorded of it, and the bytes that this took."""
    from navicache_cli import terminal
    from navicache_cli.cache import Off
    from navicache_cli.cache.recording.output_recorder import OutputRecorder
    from navicache_cli.run.runner import run

    first = bool(getattr(pipeline, "conditional_first", False))
    recorder = OutputRecorder(plan.guidance, keep_on_cpu, first)
    with terminal.StepProgress(title, plan.steps, quiet) as progress:
        done = run(pipeline, plan, on_step=progress, policy=Off(), recorder=recorder)
    assert recorder.recording is not None, "a generation that is over has been recorded"
    if recorder.recording.total_steps != plan.steps:
        raise UsageError(
            f"expected a sampler of the plan's {plan.steps} steps, found one of "
            f"{recorder.recording.total_steps}",
            f"--steps {recorder.recording.total_steps}",
        )
    return recorder.recording, done.session.peak_cache_bytes


def search(
    plan: Plan, identity: ModelIdentity, recordings: Sequence[Recording], speedups: Sequence[float]
) -> Schedules:
    """Find a schedule for each budget.

    Raises:
        UsageError: a budget is too small for the steps that have to be computed.
    """
    from navicache_cli.cache.policies.policy import PredictorSpec
    from navicache_cli.cache.policies.scheduled import strip
    from navicache_cli.cache.predictors.factory import maker_of
    from navicache_cli.cache.recording.search import find_schedule
    from navicache_cli.report.schedules import Schedule, Schedules

    make = maker_of(PredictorSpec(PREDICTOR))
    schedules = []
    for speedup in speedups:
        found = find_schedule(recordings, planned_steps(plan.steps, 1 / speedup), make)
        error = math.exp(sum(math.log(max(one, 1e-12)) for one in found.errors) / len(found.errors))
        schedules.append(Schedule(speedup, strip(found.computed), float(f"{error:.3g}")))
    return Schedules(
        source=f"navicache {__version__} schedule",
        model=plan.model,
        task=plan.task,
        name=identity.name,
        weights_digest=identity.weights_digest,
        steps=plan.steps,
        solver=plan.solver,
        shift=plan.shift,
        guidance=plan.guidance,
        size=plan.size,
        frames=plan.frames,
        predictor=PREDICTOR,
        recordings=len(recordings),
        schedules=schedules,
    )
