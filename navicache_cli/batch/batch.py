"""`navicache batch`: a video for every prompt of a file; run again, it resumes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.batch.agenda import Agenda, Outcome, Task, adopt
from navicache_cli.batch.folder import Folder, Standing
from navicache_cli.batch.items import Item, in_shard, make_items, make_settings, read_shard
from navicache_cli.batch.making import Checked, check_items
from navicache_cli.batch.manifest import Done, Manifest, Record, read_manifests
from navicache_cli.batch.progress import BatchProgress
from navicache_cli.batch.rows import read_rows
from navicache_cli.errors import BatchError, InterruptedRunError, UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.presets import unknown
from navicache_cli.reading import expand_user

if TYPE_CHECKING:
    from backends.protocol import Pipeline

DEFAULT_FOLDER = "batch"
SERIAL, RAY = ENGINES = ("serial", "ray")
MAX_SHOWN = 5  # notes and errors of that many videos are shown; reports and manifest have all


@dataclass(frozen=True)
class Choices:
    """What a user chooses besides the options of a plan; see `navicache batch --help`."""

    name: str
    seeds: int = 1
    methods: str | None = None
    modes: str | None = None
    shard: str | None = None
    retry: int = 0
    max_failures: int = 0
    engine: str = SERIAL
    workers: int | None = None
    ray_address: str | None = None

    def check(self) -> None:
        """Check the numbers and the engine.

        Raises:
            UsageError: a number is too small, there is no such engine, or an option is another engine's.
        """
        for option, least in (("seeds", 1), ("retry", 0), ("max_failures", 0), ("workers", 1)):
            found, flag = getattr(self, option), f"--{option.replace('_', '-')}"
            if found is not None and found < least:
                raise UsageError(f"{flag} expects {least} or more, found {found}", f"{flag} {least}")
        if self.engine not in ENGINES:
            raise UsageError(unknown("engine", self.engine, ENGINES), "--engine ray")
        if self.engine != RAY and (self.workers or self.ray_address):
            flag = "--workers" if self.workers else "--ray-address"
            raise UsageError(f"{flag} expects --engine ray, found {self.engine}", "add --engine ray")


def batch(
    file: Path,
    layers: Sequence[Layer],
    choices: Choices,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Make the videos of a file's prompts that are not there yet.

    Args:
        file: see `read_rows`.
        layers: options of all videos, weakest first.
        choices: names, settings, shard, and what to do about failures.
        dry_run: only show what would run.
        as_json: print the outcome as JSON.
        quiet: show errors alone.

    Raises:
        UsageError: the file, an option or a name is wrong; nothing was started.
        BatchError: some videos failed; the others are there.
        InterruptedRunError: Ctrl-C; what was finished is kept.
        NavicacheError: the model cannot be loaded, or the manifest cannot be written.
    """
    choices.check()
    shard = read_shard(choices.shard)
    rows = read_rows(file)
    settings = make_settings(choices.methods, choices.modes, rows)
    all_items = make_items(rows, layers, file.name, choices.name, choices.seeds, settings)
    items = list(in_shard(all_items, shard))
    plan = all_items[0].settings
    chosen = DEFAULT_FOLDER if plan.provenance["output_dir"] == "default" else plan.output_dir
    folder = Folder(expand_user(chosen))
    if dry_run:
        standings = _look(folder, items, read_manifests(folder.root), quiet)
        _show_plan(items, standings, as_json)
        return
    _check_one_process(all_items[0])
    if choices.engine == RAY:
        from navicache_cli.batch.ray_session import check_ray

        check_ray()
    try:
        with Manifest(folder.root, shard) as manifest:
            try:
                outcome = _run(folder, items, manifest, choices, quiet, as_json)
            finally:
                folder.sweep(items)  # What a worker left that was killed, or an earlier run.
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "stopped before all videos were made; the finished ones are kept",
            "run the same command again to resume",
        ) from None
    _show_outcome(outcome, len(items), as_json, quiet)
    if outcome.failed:
        raise BatchError(
            f"{len(outcome.failed)} of {len(items)} videos failed; the errors are in {manifest.path}",
            "run the same command again: it tries them once more and keeps the rest",
        )


def _check_one_process(item: Item) -> None:
    """Check that the model runs in this process alone."""
    from navicache_cli.launch import read_launch

    plan, processes = item.settings, read_launch().world_size
    if processes > 1 or plan.ulysses * plan.ring > 1 or plan.fsdp:
        raise UsageError(
            f"batch expects one process for a model; found {processes}, with ulysses {plan.ulysses}, "
            f"ring {plan.ring}{' and fsdp' if plan.fsdp else ''}",
            "give each GPU a part: CUDA_VISIBLE_DEVICES=0 navicache batch … --shard 1/2, and so on",
        )


def _look(
    folder: Folder, items: Sequence[Item], records: dict[str, Record], quiet: bool
) -> dict[str, Standing]:
    """Find out what is finished; reads the finished videos."""
    with nullcontext() if quiet else terminal.stderr.status(f"looking at {len(items)} videos"):
        return {
            item.name: folder.standing(item, records.get(item.name), item.settings.overwrite)
            for item in items
        }


def _run(
    folder: Folder, items: Sequence[Item], manifest: Manifest, choices: Choices, quiet: bool, as_json: bool
) -> Outcome:
    """Make what is not finished."""
    standings = _look(folder, items, manifest.records, quiet or as_json)
    for item in items:
        if standings[item.name] is Standing.ADOPT:
            adopt(item, folder, manifest)
    finished = {name for name, one in standings.items() if one in (Standing.KEEP, Standing.ADOPT)}
    outcome = Outcome(kept=[item.name for item in items if item.name in finished])
    todo = [item for item in items if item.name not in finished]
    kept = [one for name in outcome.kept if isinstance(one := manifest.records[name], Done)]
    steps, skipped = sum(one.steps for one in kept), sum(one.skipped for one in kept)
    progress = BatchProgress(len(items), len(kept), steps, skipped, quiet)
    if todo:
        checked = _check(folder, todo, quiet)
        if not checked.notes and not kept:
            raise next(iter(checked.refused.values()))
        folder.prepare(todo)
        tasks = [Task(item, standings[item.name] is Standing.REPLACE) for item in todo]
        agenda = Agenda(
            tasks, checked, folder, manifest, progress, outcome, choices.retry, choices.max_failures
        )
        if checked.notes:
            _work(agenda, folder, todo, choices, progress, quiet or as_json)
        else:
            agenda.next()  # It records that all are refused.
    outcome.skip_ratio = progress.skip_ratio()
    return outcome


def _work(
    agenda: Agenda,
    folder: Folder,
    todo: Sequence[Item],
    choices: Choices,
    progress: BatchProgress,
    silent: bool,
) -> None:
    """Make the videos of an agenda, by the engine chosen."""
    if choices.engine == RAY:
        from navicache_cli.batch.on_ray import work_on_ray
        from navicache_cli.batch.ray_session import Cluster

        cluster = Cluster(choices.workers, choices.ray_address)
        with progress:
            work_on_ray(cluster, todo[0].plan(folder.videos), folder, agenda, len(todo), progress)
    else:
        from navicache_cli.batch.serial import work_serially

        pipeline = _load(folder, todo[0], silent)
        with progress:
            work_serially(pipeline, folder, agenda, progress)


def _check(folder: Folder, todo: Sequence[Item], quiet: bool) -> Checked:
    """Ask the backend about the items, and show what it says."""
    from backends.registry import get_backend

    checked = check_items(get_backend(todo[0].settings.model), todo, folder)
    if not quiet:
        _show_notes(checked)
    return checked


def _load(folder: Folder, item: Item, silent: bool) -> Pipeline:
    """Load the model, which is the same for all items."""
    from backends.registry import get_backend

    plan = item.plan(folder.videos)
    with nullcontext() if silent else terminal.stderr.status(f"loading {plan.model}"):
        return get_backend(plan.model).load(plan)


def _show_notes(checked: Checked) -> None:
    """Show each note once, the most frequent first, and what the backend refuses."""
    counts = Counter(note for notes in checked.notes.values() for note in notes)
    for note, count in counts.most_common(MAX_SHOWN):
        terminal.show_note(note if count == 1 else f"{note} ({count} videos)")
    if len(counts) > MAX_SHOWN:
        terminal.show_note(f"{len(counts) - MAX_SHOWN} more notes are in the reports")
    refusals = list(dict.fromkeys(error.message for error in checked.refused.values()))
    for message in refusals[:MAX_SHOWN]:
        terminal.show_note(f"will fail: {message}")
    if len(refusals) > MAX_SHOWN:
        terminal.show_note(f"{len(refusals) - MAX_SHOWN} more will fail")


def _show_plan(items: Iterable[Item], standings: dict[str, Standing], as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": item.name, "state": standings[item.name].value, "prompt": item.prompt, "seed": item.seed,
             "mode": item.settings.pace, "method": item.settings.method, "from": item.where}
            for item in items
        ]  # fmt: skip
        print(json.dumps(rows, indent=1))
        return
    for item in items:
        terminal.stdout.say(f"{standings[item.name].value}: {item.name} ({item.where})")
    for standing, count in Counter(standings.values()).items():
        terminal.stdout.say((f"{count}", "bold"), f" {standing.value}")


def _show_outcome(outcome: Outcome, count: int, as_json: bool, quiet: bool) -> None:
    if as_json:
        print(json.dumps({"videos": count, **vars(outcome)}, indent=1))
        return
    if quiet:
        return
    untried = count - len(outcome.kept) - len(outcome.made) - len(outcome.failed)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "videos", f"{len(outcome.kept) + len(outcome.made)} of {count} finished, {len(outcome.made)} now"
    )
    table.add_row("skipped", f"{outcome.skip_ratio:.0%} of their steps")
    if outcome.failed:
        table.add_row("failed", f"{len(outcome.failed)}{f', {untried} not tried' if untried else ''}")
    for name, error in list(outcome.failed.items())[:MAX_SHOWN]:
        table.add_row("", Text(f"{name}: {error}"))
    terminal.stdout.print(table)
