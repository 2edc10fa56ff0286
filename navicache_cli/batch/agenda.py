"""What a batch has still to do, and the writing down of what becomes of it: the same for every engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from navicache_cli.batch.folder import Folder, Standing
from navicache_cli.batch.items import Item
from navicache_cli.batch.making import Checked, Made, failure
from navicache_cli.batch.manifest import Done, Failed, Manifest, Record, Started

if TYPE_CHECKING:
    from navicache_cli.batch.progress import BatchProgress

MOST_LOST = 2  # after so many more workers ended over it, an item counts as failed


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
class Task:
    """One attempt at one item.

    Attributes:
        item: what to make.
        replace: whether there may be a video of its name, to be replaced.
        attempt: 1, or more where it failed before.
        lost: how many workers ended while they made it.
    """

    item: Item
    replace: bool = False
    attempt: int = 1
    lost: int = 0


class Agenda:
    """The tasks of a run, in order. It alone writes the manifest, so that any number of workers may work."""

    def __init__(
        self,
        tasks: Iterable[Task],
        checked: Checked,
        folder: Folder,
        manifest: Manifest,
        progress: BatchProgress,
        outcome: Outcome,
        retry: int = 0,
        max_failures: int = 0,
    ) -> None:
        """Take what there is to do, and where to write down what became of it.

        Args:
            tasks: in the order to do them.
            checked: what the backend said of their items.
            folder: where the videos go.
            manifest: open, to append to.
            progress: is told of each item.
            outcome: is told of each item.
            retry: how often to try again what failed.
            max_failures: stop when so many failed; 0 never.
        """
        self._tasks = deque(tasks)
        self._checked, self._folder, self._manifest = checked, folder, manifest
        self._progress, self._outcome = progress, outcome
        self._retry, self._max_failures = retry, max_failures

    @property
    def empty(self) -> bool:
        """Whether there is nothing to start any more; what failed or was lost may come back."""
        return not self._tasks or self._stopped

    def next(self) -> Task | None:
        """Take the next task; what the backend refuses is recorded on the way."""
        while not self.empty:
            task = self._tasks.popleft()
            refusal = self._checked.refused.get(task.item.name)
            if refusal is None:
                return task
            self._give_up(task, failure(refusal))
        return None

    def notes(self, task: Task) -> list[str]:
        """Return what the backend said of a task's item."""
        return self._checked.notes[task.item.name]

    def started(self, task: Task, pid: int) -> None:
        """Record that a process goes to work on a task.

        Raises:
            OutputError: the manifest cannot be written; so too below.
        """
        self._append(Started, task, pid=pid)
        self._progress.start(task.item.name)

    def made(self, task: Task, made: Made) -> None:
        self._append(Done, task, **done_facts(task.item, made, self._folder))
        self._outcome.made.append(task.item.name)
        self._progress.done(task.item.name, made.steps, made.skipped)

    def failed(self, task: Task, facts: dict[str, Any]) -> None:
        """Record a failure, see `making.failure`; the task comes back if it may be tried again."""
        if task.attempt > self._retry or self._stopped:
            self._give_up(task, facts)
            return
        self._append(Failed, task, **facts)
        self._tasks.appendleft(replace(task, attempt=task.attempt + 1))

    def lost(self, task: Task, reason: str) -> None:
        """Settle a task whose worker ended: finished all the same, to be done again, or failed."""
        record = self._manifest.records.get(task.item.name)
        if self._folder.standing(task.item, record, overwrite=True) is Standing.ADOPT:
            self.made(task, made_before(task.item, self._folder))
            return
        if task.lost < MOST_LOST and not self._stopped:
            self._tasks.appendleft(replace(task, lost=task.lost + 1, replace=True))
        else:
            text = f"{task.lost + 1} workers ended while they made it; the last: {reason}"
            self._give_up(task, {"error": text, "exit_code": 1})

    @property
    def _stopped(self) -> bool:
        return 0 < self._max_failures <= len(self._outcome.failed)

    def _give_up(self, task: Task, facts: dict[str, Any]) -> None:
        self._append(Failed, task, **facts)
        self._outcome.failed[task.item.name] = str(facts["error"])
        self._progress.failed(task.item.name, str(facts["error"]))

    def _append(self, kind: type[Record], task: Task, **facts: Any) -> None:
        item = task.item
        self._manifest.append(kind, item.name, settings=item.fingerprint(), attempt=task.attempt, **facts)


def adopt(item: Item, folder: Folder, manifest: Manifest) -> None:
    """Record an item whose video and report are there: its run was killed before it could."""
    facts = done_facts(item, made_before(item, folder), folder)
    manifest.append(Done, item.name, settings=item.fingerprint(), attempt=1, **facts)


def made_before(item: Item, folder: Folder) -> Made:
    """Return what the report of a finished item says that there is no record of."""
    report = folder.finished_report(item)
    assert report is not None, "that is what its standing says"
    totals = report.totals
    return Made(report.output.sha256, totals.steps, totals.skipped_steps, report.timings_s.total)


def done_facts(item: Item, made: Made, folder: Folder) -> dict[str, Any]:
    """Return what the manifest says of a finished item."""
    return {**asdict(made), "report": folder.report(item).relative_to(folder.root).as_posix()}
