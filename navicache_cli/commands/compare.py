"""`navicache compare`: methods held against the uncached baseline, on the user's model and prompts."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli import terminal
from navicache_cli.commands.generate import option_layers
from navicache_cli.commands.metrics import pick_lpips
from navicache_cli.compare.peers.peers import check_installed, check_offered
from navicache_cli.compare.settings import (
    BASELINE,
    OWN_RUNNER,
    Setting,
    choose_settings,
    known_methods,
    parse_names,
    parse_sweep,
)
from navicache_cli.compare.settings_file import read_settings
from navicache_cli.errors import InterruptedRunError, UsageError
from navicache_cli.plan.method import about_steps
from navicache_cli.plan.plan import Layer, Plan, plan_document, resolve
from navicache_cli.plan.presets import Preset, preset_for
from navicache_cli.reading import expand_user, read_utf8

if TYPE_CHECKING:
    from backends.protocol import Backend
    from navicache_cli.compare.document import Comparison
    from navicache_cli.compare.store import Store
    from navicache_cli.compare.summary import CellResult
    from navicache_cli.media.fidelity import Models
    from navicache_cli.report.report import Report

# What a comparison decides itself; a configuration shared with `generate` may say otherwise.
_DECIDED_HERE = ("mode", "method", "threshold", "speedup", "compute")
_OF_GENERATE = ("output", "overwrite", "baseline")
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Request:
    """What is asked for beyond the options of a plan; see `navicache compare --help`."""

    methods: str | None = None
    modes: str | None = None
    sweeps: tuple[str, ...] = ()
    settings: Path | None = None
    prompts: Path | None = None
    seeds: int = 1
    lpips: bool | None = None
    page: bool = True
    as_json: bool = False


@dataclass(frozen=True)
class _Task:
    """The request, read and checked."""

    layers: list[Layer]
    base: Plan
    settings: list[Setting]
    prompts: list[str]
    seeds: list[int]


def compare(
    request: Request, flags: dict[str, Any], assignments: list[str], config: Path | None
) -> Comparison:
    """Run what is not on disk yet, write compare.json, compare.csv and the page, and show the table.

    Raises:
        NavicacheError: see the error classes; finished cells stay on disk.
    """
    from backends.registry import get_backend
    from navicache_cli.compare.results import result_paths, write_results
    from navicache_cli.compare.store import Store

    layers, notes = _shared_layers(option_layers(flags, assignments, config, dict(os.environ)))
    task = _read(request, layers)
    _check_launch(task.base)
    backend = get_backend(task.base.model)
    notes += _check(backend, task)
    folder = expand_user(task.base.output_dir)
    paths = result_paths(folder, request.page)
    models, lpips_notes = pick_lpips(request.lpips)
    notes += lpips_notes
    for note in notes:
        terminal.show_note(note)
    with Store(folder) as store:
        try:
            comparison, reports = _run(task, backend, store, models, notes)
            store.check()
            write_results(paths, comparison, reports)
        except KeyboardInterrupt:
            raise _stopped(store) from None
    if request.as_json:
        from navicache_cli.report.documents import document_text

        print(document_text(comparison), end="")
    else:
        _show(comparison, paths)
    return comparison


def _stopped(store: Store) -> InterruptedRunError:
    """Say what there is of a run that was stopped."""
    count = store.count()
    if not count:
        return InterruptedRunError(
            f"stopped; no finished cell is in {store.folder}", "run the same command again"
        )
    return InterruptedRunError(
        f"stopped; finished cells are kept in {store.folder} ({count} by now)",
        "run the same command again to resume",
    )


def _shared_layers(layers: list[Layer]) -> tuple[list[Layer], list[str]]:
    """Take out of the user's layers what a comparison decides itself, and say so."""
    kept, notes = [Layer("default", {"output_dir": "compare"})], []
    for layer in layers:
        values = {k: v for k, v in layer.values.items() if k not in (*_DECIDED_HERE, *_OF_GENERATE)}
        kept.append(Layer(layer.label, values))
        notes += [
            f"compare chooses the {name} itself; {layer.source(name)} is ignored"
            for name in _DECIDED_HERE
            if name in layer.values
        ]
    return kept, notes


def _read(request: Request, layers: list[Layer]) -> _Task:
    base = resolve([*layers, Layer("compare", BASELINE.values)])
    preset = preset_for(base.model)
    settings = _settings(request, preset, base.steps)
    if not 1 <= request.seeds <= MAX_SEEDS:
        raise UsageError(f"seeds expects 1 to {MAX_SEEDS}, found {request.seeds}", "--seeds 3")
    if request.prompts is not None:
        prompts = read_prompts(request.prompts)
    elif base.provenance["prompt"].startswith("preset") and preset.examples:
        prompts = preset.examples
    else:
        prompts = [base.prompt]
    return _Task(layers, base, settings, prompts, [base.seed + i for i in range(request.seeds)])


def _settings(request: Request, preset: Preset, steps: int) -> list[Setting]:
    """What to hold against the baseline: of the file, and of methods, modes and sweeps if any are named."""
    modes = list(preset.modes)
    found = [] if request.settings is None else read_settings(request.settings, steps)
    if not found or request.methods is not None or request.sweeps:
        chosen = choose_settings(
            None if request.methods is None else parse_names(request.methods, "method", known_methods()),
            None if request.modes is None else parse_names(request.modes, "mode", modes),
            [parse_sweep(text) for text in request.sweeps],
            steps,
            modes,
            preset.referees,
        )
        found = list({setting.name: setting for setting in [*found, *chosen]}.values())
    for setting in found:
        if setting.runner != OWN_RUNNER:
            check_offered(setting.arguments["referee"], preset)
            check_installed(setting.arguments["referee"])
    return found


def read_prompts(path: Path) -> list[str]:
    """Read a prompt from each line that is not blank; a repeated one counts once.

    Raises:
        UsageError: the file is missing, not UTF-8 text, or has no prompt.
    """
    try:
        lines = read_utf8(expand_user(path)).splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the prompts {path}: {error.strerror}", "check the path") from None
    prompts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not prompts:
        raise UsageError(f"expected one prompt per line in {path}, found none", "write one prompt into it")
    return prompts


def _check_launch(plan: Plan) -> None:
    """Cells are written by one process; several on one video would need to agree on which are finished."""
    from navicache_cli.launch import read_launch
    from navicache_cli.plan.parallel import check_processes

    launch = read_launch()
    if launch.world_size > 1:
        raise UsageError(
            f"compare expects one process, found {launch.world_size}",
            "run navicache compare without torchrun",
        )
    check_processes(plan, launch)


def _check(backend: Backend, task: _Task) -> list[str]:
    """Let the backend see every prompt and every setting before anything is loaded.

    Takes out of the task settings nobody named that do not fit, and those that equal another one.

    Returns:
        What is worth knowing, each note once.
    """
    from navicache_cli.compare.jobs import plan_for, what_matters

    first, notes = task.prompts[0], []
    for prompt in task.prompts:
        notes += backend.check(plan_for(task.layers, BASELINE, prompt, task.seeds[0]))
    seen: dict[str, str] = {}
    for setting in list(task.settings):
        try:
            plan = plan_for(task.layers, setting, first, task.seeds[0])
            backend.check(plan)
        except UsageError as error:
            if not setting.optional:
                raise
            task.settings.remove(setting)
            notes.append(_left_out(setting.method, error.message))
            continue
        facts = json.dumps([setting.runner, setting.arguments, what_matters(plan)])
        same = seen.setdefault(facts, setting.name)
        if same != setting.name:
            task.settings.remove(setting)
            notes.append(f"{setting.name} is left out: it is the same as {same}")
        notes += about_steps(plan)
    if not task.settings:
        raise UsageError(f"no method fits {task.base.model}: {notes[-1]}", "--methods navicache")
    return list(dict.fromkeys(notes))


def _left_out(name: str, reason: str) -> str:
    return f"{name} is left out: {reason}"


def _run(
    task: _Task, backend: Backend, store: Store, models: Models, notes: list[str]
) -> tuple[Comparison, dict[str, Report]]:
    """Load the model, find or run every cell, and sum up; the reports come by their cells' keys."""
    from navicache_cli.compare.code import code_digest
    from navicache_cli.compare.document import Comparison
    from navicache_cli.compare.jobs import list_jobs
    from navicache_cli.compare.peers.runner import RefereeRunner
    from navicache_cli.compare.runners import PipelineRunner, Runner
    from navicache_cli.compare.running import Work
    from navicache_cli.compare.summary import cell_result, setting_result
    from navicache_cli.compare.table import CellProgress
    from navicache_cli.report.report import machine_facts
    from navicache_cli.report.speed import speed_notes

    with terminal.stderr.status(f"loading {task.base.model}"):
        pipeline = backend.load(task.base)
    runners: dict[str, Runner] = {OWN_RUNNER: PipelineRunner(pipeline)}
    for package in {setting.runner for setting in task.settings} - {OWN_RUNNER}:
        runners[package] = RefereeRunner(pipeline, package)
    identities = {name: runner.identity for name, runner in runners.items()}
    jobs = list_jobs(task.layers, task.settings, task.prompts, task.seeds, identities, code_digest(backend))
    work = Work(runners, store, uuid.uuid4().hex, models)
    with CellProgress(len(jobs)) as progress:
        cells = work.run(jobs, progress)
    kept = len(jobs) - progress.run
    terminal.stderr.say(f"{len(jobs)} cells: {progress.run} run, {kept} kept from before")
    done = [job for job in jobs if job.setting.name not in work.left_out]
    results = [cell_result(job, cells[job.key], cells[job.baseline or job.key]) for job in done]
    settings = [one for one in [BASELINE, *task.settings] if one.name not in work.left_out]
    left_out = [_left_out(name, reason) for name, reason in work.left_out.items()]
    clocks = {cell.report.timings_s.clock for cell in cells.values()}
    late = [*left_out, *speed_notes(clocks, any(result.beyond_bound for result in results))]
    for note in late:
        terminal.show_note(note)
    comparison = Comparison(
        plan=plan_document(task.base),
        model=pipeline.identity,
        machine=machine_facts(),
        prompts=task.prompts,
        seeds=task.seeds,
        settings=[
            setting_result(one, [result for result in results if result.setting == one.name])
            for one in settings
        ],
        cells=results,
        notes=[*notes, *late, *_sittings(results)],
    )
    return comparison, {key: cell.report for key, cell in cells.items()}


def _sittings(results: list[CellResult]) -> list[str]:
    count = len({result.sitting for result in results})
    if count == 1:
        return []
    return [
        f"the cells were run in {count} sittings; a speedup between two of them also reflects other "
        "work of the machine"
    ]


def _show(comparison: Comparison, written: list[Path]) -> None:
    from navicache_cli.compare.table import TABLE_WIDTH, settings_table

    # On a narrow terminal whole rows wrap, which reads better than columns cut short.
    terminal.SafeConsole(width=max(terminal.stdout.width, TABLE_WIDTH)).print(settings_table(comparison))
    for path in written:
        terminal.show_path(path)
