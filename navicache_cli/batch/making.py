"""Makes one video of a batch on a loaded model: what all engines do, wherever they do it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navicache_cli.batch.folder import Folder
from navicache_cli.batch.items import Item
from navicache_cli.errors import NavicacheError, UsageError
from navicache_cli.run.generation import check_with_backend, run_plan, write_result

if TYPE_CHECKING:
    from backends.protocol import Backend, Pipeline
    from navicache_cli.run.generation import Watch


@dataclass(frozen=True)
class Made:
    """What the manifest says of a finished video: digest, steps, skipped ones, seconds that it took."""

    video: str
    steps: int
    skipped: int
    seconds: float


@dataclass(frozen=True)
class Checked:
    """What a backend says of items before the model is loaded: notes, or why it refuses one."""

    notes: Mapping[str, list[str]]
    refused: Mapping[str, UsageError]


def check_items(backend: Backend, items: Iterable[Item], folder: Folder) -> Checked:
    """Ask the backend about each prompt in each setting, once for all its seeds.

    Raises:
        NavicacheError: the model cannot run here.
    """
    notes: dict[str, list[str]] = {}
    refused: dict[str, UsageError] = {}
    answers: dict[tuple[int, str], list[str] | UsageError] = {}
    for item in items:
        key = (id(item.settings), item.prompt)
        if key not in answers:
            try:
                answers[key] = check_with_backend(backend, item.plan(folder.videos))
            except UsageError as error:
                answers[key] = UsageError(f"{item.where}: {error.message}", error.hint)
        answer = answers[key]
        if isinstance(answer, UsageError):
            refused[item.name] = answer
        else:
            notes[item.name] = answer
    return Checked(notes, refused)


def make(
    pipeline: Pipeline, folder: Folder, item: Item, replace: bool, notes: Sequence[str], watch: Watch
) -> Made:
    """Make a video and its report.

    Args:
        pipeline: the loaded model.
        folder: where they go.
        item: what to make.
        replace: whether there may be a video of its name.
        notes: for the report.
        watch: see `generation.run_plan`.

    Raises:
        Exception: whatever goes wrong, in the model or on the disk.
    """
    from navicache_cli.run.runner import Clock

    clock = Clock()
    plan = item.plan(folder.videos, replace)
    runs = run_plan(pipeline, plan, watch)
    place = folder.video(item), folder.report(item)
    report = write_result(plan, pipeline, [place], runs, 0.0, list(notes))
    totals = report.totals
    return Made(report.output.sha256, totals.steps, totals.skipped_steps, clock())


def failure(error: Exception) -> dict[str, Any]:
    """What a manifest says of an error; one that navicache does not know comes with its traceback."""
    if isinstance(error, NavicacheError):
        return {"error": error.message, "exit_code": error.exit_code}
    text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    told = "".join(traceback.format_exception(error))
    return {"error": text, "exit_code": 1, "traceback": told[-4000:]}
