"""Makes the sessions of one enabled pipeline or model, and keeps the reports of what they did."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable

from navicache.report import CallReport, LoopReport, loop_report
from navicache.settings import Settings
from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.loop import Loop

KEPT = 100  # reports, each some kilobytes of plain numbers


class NavicacheWarning(UserWarning):
    """The cache did less than was asked for; the result of the pipeline is as good as without it."""


class Log:
    """Listens to a pipeline's loops and calls, or to a model's generations.

    Args:
        settings: of every session.

    Attributes:
        reports: of the last `KEPT` calls, the oldest first.
        about: says what is worth knowing of a loop that begins.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.about: Callable[[], list[str]] = list
        self.reports: deque[CallReport] = deque(maxlen=KEPT)
        self._loops: list[LoopReport] = []
        self._notes: list[str] = []
        self._started = 0.0

    def begin_call(self) -> None:
        """A call of the pipeline starts: what another left unfinished is dropped."""
        self._loops, self._notes = [], []

    def begin_loop(self, steps: int) -> Session:
        """A session for a loop of that many steps."""
        session, notes = self.settings.session(steps, self._end_generation)
        for note in [*notes, *self.about()]:
            self._note(note)
        self._started = time.perf_counter()
        return session

    def last_step(self) -> None:
        """The last step of a loop is over, which no report is about."""

    def end_loop(self, loop: Loop) -> None:
        """A loop is over."""
        if loop.beyond:
            self._note("the sampler took more steps than its scheduler announced: they were not cached")
        report = loop_report(loop.session, loop.seconds)
        if report is not None:
            self._loops.append(report)

    def end_call(self, uncached: int) -> None:
        """A call of the pipeline is over; `uncached` calls of its models belonged to no loop."""
        if not self._loops:
            self._note(
                "the cache saw nothing of this call: "
                + (
                    "its scheduler announced no steps before the model was called"
                    if uncached
                    else "the model was not called, or not as the pipeline's own"
                )
            )
        self.reports.append(CallReport(self._loops, tuple(self._notes)))
        self._loops, self._notes = [], []

    def so_far(self, session: Session) -> CallReport:
        """Of the generation that runs."""
        report = loop_report(session, time.perf_counter() - self._started)
        return CallReport([report] if report else [], tuple(self._notes))

    def _end_generation(self, session: Session) -> None:
        """A model by itself has begun another generation."""
        self.reports.append(self.so_far(session))
        self._started, self._notes = time.perf_counter(), []

    def _note(self, text: str) -> None:
        self._notes.append(text)
        # As of the line that called the pipeline, which no fixed number of frames leads to.
        warnings.warn(text, NavicacheWarning, stacklevel=2)
