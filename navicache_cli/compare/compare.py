"""`navicache compare`: methods held against the uncached baseline, on the user's model and prompts."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli import terminal
from navicache_cli.compare.request import Request, Task, read_request, shared_layers
from navicache_cli.compare.settings import BASELINE, OWN_RUNNER
from navicache_cli.errors import InterruptedRunError, UsageError
from navicache_cli.media.lpips import pick_lpips
from navicache_cli.plan.layers import option_layers
from navicache_cli.plan.method import about_steps
from navicache_cli.plan.plan import Plan, plan_document
from navicache_cli.reading import expand_user

if TYPE_CHECKING:
    from backends.protocol import Backend
    from navicache_cli.compare.document import Comparison
    from navicache_cli.compare.store import Store
    from navicache_cli.compare.summary import CellResult
    from navicache_cli.media.fidelity import Models
    from navicache_cli.report.report import Report


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

    layers, notes = shared_layers(option_layers(flags, assignments, config, dict(os.environ)))
    task = read_request(request, layers)
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


def _check(backend: Backend, task: Task) -> list[str]:
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
    task: Task, backend: Backend, store: Store, models: Models, notes: list[str]
) -> tuple[Comparison, dict[str, Report]]:
    """Load the model, find or run every cell, and sum up; the reports come by their cells' keys."""
    from navicache_cli.compare.code import code_digest
    from navicache_cli.compare.document import Comparison
    from navicache_cli.compare.jobs import list_jobs
    from navicache_cli.compare.peers.runner import PeerRunner
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
        runners[package] = PeerRunner(pipeline, package)
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
