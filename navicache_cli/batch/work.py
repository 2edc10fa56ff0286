"""Makes the videos of a batch one after the other in this process, on a model that is loaded once."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..commands.generate import check_with_backend, run_plan, write_result
from ..errors import NavicacheError, UsageError
from .folder import Folder, Standing
from .items import Item
from .manifest import DONE, FAILED, STARTED, Manifest

if TYPE_CHECKING:
    from backends.protocol import Backend, Pipeline

    from ..report import Report
    from .progress import BatchProgress


@dataclass
class Outcome:
    """What became of the videos of a run, by name; the failed ones with their errors.

    `skip_ratio` is skipped steps over steps of all that are finished. Videos in none of these were not tried.
    """

    kept: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skip_ratio: float = 0.0


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


class Worker:
    """A loaded model, the batch's folder and its manifest: makes items and records what became of them."""

    def __init__(
        self,
        pipeline: Pipeline | None,
        folder: Folder,
        manifest: Manifest,
        checked: Checked,
        progress: BatchProgress,
    ) -> None:
        """Take what the work is done with; without a pipeline there may only be refused items."""
        self._pipeline, self._folder, self._manifest = pipeline, folder, manifest
        self._checked, self._progress = checked, progress

    def work(
        self,
        items: Sequence[Item],
        standings: Mapping[str, Standing],
        retry: int,
        max_failures: int,
        outcome: Outcome,
    ) -> None:
        """Make all items, or as many as it takes for `max_failures` to fail.

        Args:
            items: what to make, in this order.
            standings: of these items; those to be made again are replaced.
            retry: how often to try again what failed.
            max_failures: stop when so many failed; 0 never.
            outcome: told of each item.

        Raises:
            OutputError: the manifest cannot be written.
        """
        for item in items:
            self._progress.start(item.name)
            error = self._attempt(item, standings[item.name] is Standing.REPLACE, retry)
            if not error:
                outcome.made.append(item.name)
                continue
            outcome.failed[item.name] = error
            self._progress.failed(item.name, error)
            if len(outcome.failed) == max_failures:
                return

    def _attempt(self, item: Item, replace: bool, retry: int) -> str:
        """Make an item, trying again where it fails; return the last error, or ""."""
        settings = item.fingerprint()
        if item.name in self._checked.refused:
            facts = _failure(self._checked.refused[item.name])
            self._manifest.append(item.name, FAILED, settings=settings, attempt=1, **facts)
            return str(facts["error"])
        for attempt in range(1, retry + 2):
            self._manifest.append(item.name, STARTED, settings=settings, attempt=attempt)
            try:
                # A first attempt may have got as far as the video.
                seconds, report = self._make(item, replace or attempt > 1)
            except Exception as error:
                facts = _failure(error)
            else:
                self._record(item, settings, report, seconds, attempt)
                return ""
            self._manifest.append(item.name, FAILED, settings=settings, attempt=attempt, **facts)
        return str(facts["error"])

    def _make(self, item: Item, replace: bool) -> tuple[float, Report]:
        from ..runner import Clock

        assert self._pipeline is not None, "there is one where an item is not refused"
        clock = Clock()
        plan = item.plan(self._folder.videos, replace)
        runs = run_plan(self._pipeline, plan, self._progress.watch)
        report = write_result(
            plan, self._pipeline, self._folder.video(item), self._folder.report(item), runs, 0.0, clock,
            self._checked.notes[item.name],
        )  # fmt: skip
        return clock(), report

    def _record(self, item: Item, settings: str, report: Report, seconds: float, attempt: int) -> None:
        totals = report.totals
        self._manifest.append(
            item.name, DONE, settings=settings, attempt=attempt, video=report.output.sha256,
            report=self._folder.report(item).relative_to(self._folder.root).as_posix(),
            steps=totals.steps, skipped=totals.skipped_steps, seconds=seconds,
        )  # fmt: skip
        self._progress.done(item.name, totals.steps, totals.skipped_steps)


def adopt(item: Item, folder: Folder, manifest: Manifest) -> None:
    """Record an item whose video and report are there: its run was killed before it could."""
    report = folder.finished_report(item)
    assert report is not None, "that is what its standing says"
    manifest.append(
        item.name, DONE, settings=item.fingerprint(), attempt=1, video=report["output"]["sha256"],
        report=folder.report(item).relative_to(folder.root).as_posix(),
        steps=report["totals"]["steps"], skipped=report["totals"]["skipped_steps"],
        seconds=report["timings_s"]["total"],
    )  # fmt: skip


def _failure(error: Exception) -> dict[str, Any]:
    """What a manifest says of an error; one that navicache does not know comes with its traceback."""
    if isinstance(error, NavicacheError):
        return {"error": error.message, "exit_code": error.exit_code}
    text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return {"error": text, "exit_code": 1, "traceback": traceback.format_exc()[-4000:]}
