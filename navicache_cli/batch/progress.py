"""Progress over all videos of a batch: throughput, skip ratio so far, time left, and the step at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn

from navicache_cli.streams import visible
from navicache_cli.terminal import ProgressBar, stderr

if TYPE_CHECKING:
    from navicache_cli.cache import StepRecord


class BatchProgress(ProgressBar):
    """A bar over the videos. Without a terminal it prints a line for each finished one instead."""

    def __init__(self, total: int, finished: int, steps: int, skipped: int, quiet: bool) -> None:
        """Start at what earlier runs finished.

        Args:
            total: videos in all, `finished` of them before this run.
            finished: see above.
            steps: of the finished ones, `skipped` of them predicted.
            skipped: see above.
            quiet: show nothing.
        """
        self._total, self._finished, self._failed = total, finished, 0
        self._steps, self._skipped, self._quiet = steps, skipped, quiet
        self._made, self._since = 0, time.perf_counter()
        columns = (
            TextColumn("{task.completed}/{task.total}"), BarColumn(bar_width=20),
            TextColumn("{task.fields[rate]}"), TextColumn("{task.description}", markup=False),
        )  # fmt: skip
        super().__init__(*columns, quiet=quiet)
        self._task = self._bar.add_task("", total=total, completed=finished, rate="")
        self._name = ""

    def begin(self) -> None:
        """Start the clock of the throughput, once the model is loaded."""
        self._since = time.perf_counter()

    def start(self, name: str) -> None:
        """Say which video is at work, or what else is being done."""
        self._name = name
        self._bar.update(self._task, description=visible(name))

    @contextmanager
    def watch(self, title: str, steps: int) -> Iterator[Callable[[StepRecord], None]]:
        """Yield what takes the record of each finished step; see `generation.run_plan`."""

        def show(record: StepRecord) -> None:
            if not self._bar.disable:
                text = f"{visible(self._name)}  {title} step {record.index + 1}/{steps}"
                self._bar.update(self._task, description=text)

        yield show

    def done(self, name: str, steps: int, skipped: int) -> None:
        """Count a finished video."""
        self._finished, self._made = self._finished + 1, self._made + 1
        self._steps, self._skipped = self._steps + steps, self._skipped + skipped
        self._show(f"done {name}")

    def failed(self, name: str, error: str) -> None:
        """Count a video that failed for good."""
        self._failed += 1
        if not self._bar.disable:
            stderr.say(("failed ", "red"), f"{name}: {error}")
        self._show(f"failed {name}: {error}")

    def skip_ratio(self) -> float:
        """Skipped steps over steps, of all finished videos; 0 without any."""
        return self._skipped / self._steps if self._steps else 0.0

    def _show(self, event: str) -> None:
        count = self._finished + self._failed
        parts = [f"{self._failed} failed"] if self._failed else []
        parts.append(f"{self.skip_ratio():.0%} skipped")
        if self._made:
            seconds = (time.perf_counter() - self._since) / self._made
            left = timedelta(seconds=round(seconds * (self._total - count)))
            parts += [_per_time(seconds), f"{left} left"]
        rate = ", ".join(parts)
        if not self._bar.disable:
            self._bar.update(self._task, completed=count, rate=rate)
        elif not self._quiet:
            stderr.say(f"[{count}/{self._total}] {event}; {rate}")


def _per_time(seconds: float) -> str:
    """Videos per minute, or per hour where that is less than one."""
    a_minute = 60 / seconds if seconds else 0.0
    return f"{a_minute:.1f} videos per minute" if a_minute >= 1 else f"{60 * a_minute:.1f} videos per hour"
