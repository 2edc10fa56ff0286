"""One denoising loop as its scheduler tells it: how many steps, which one now, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from navicache_cli.cache.session.session import Session


class Loop:
    """Follows one loop from the first call of a model on.

    A step of the loop is what lies between two steps of the scheduler, however many calls it has.

    Args:
        session: accompanies it, begun with its number of steps.
        times: of each of these, see `step_times`.

    Attributes:
        beyond: the sampler takes more steps than it said. They run as if there were no cache.
        over: it has ended.
        seconds: it took, by the clock on the wall; 0 until it is over.
    """

    def __init__(self, session: Session, times: Sequence[float]) -> None:
        self.session = session
        self._times = times
        self._index = 0
        self._stepped = False
        self.beyond = False
        self.over = False
        self.seconds = 0.0
        self._started = time.perf_counter()
        session.step(0, times[0])

    def called(self) -> bool:
        """A model is called: go on to the next step if the scheduler has stepped; False if none is left."""
        if self._stepped and not self.over:
            self._index += 1
            self._stepped = False
            self.session.step(self._index, self._times[self._index])
        self.beyond |= self.over
        return not self.over

    def stepped(self) -> None:
        """The scheduler has stepped. After the last step nothing is kept: other models need the memory."""
        self._stepped = True
        if self._index + 1 >= len(self._times):
            self.end()

    def end(self) -> None:
        """Complete the records, and drop what is kept."""
        if not self.over:
            self.over = True
            self.session.finish()
            self.session.clear()
            self.seconds = time.perf_counter() - self._started


def step_times(scheduler: Any, steps: int | None) -> list[float]:
    """The times of a loop's steps, in full precision, as a scheduler has them.

    Args:
        scheduler: has had its timesteps set.
        steps: that its pipeline takes of these; None for all.

    Returns:
        One number per step; they only rise or only fall. Where the scheduler has no such numbers, or fewer,
        steps are taken to be even.
    """
    timesteps: Any = getattr(scheduler, "timesteps", None)
    found = list(timesteps.tolist() if hasattr(timesteps, "tolist") else timesteps or ())
    count = steps or len(found)
    # A later start, such as that of a given video with some noise, leaves out the first timesteps.
    start = getattr(scheduler, "begin_index", None) or len(found) - count
    start = max(0, min(start, len(found) - count))
    times = found[start : start + count]
    numbers = all(isinstance(one, int | float) for one in times)
    if len(times) < count or not numbers or not _one_way(times):
        return [float(count - index) for index in range(count)]
    return [float(one) for one in times]


def _one_way(times: Sequence[float]) -> bool:
    """Whether times only rise or only fall; second-order samplers have some twice."""
    gaps = [after - before for before, after in pairwise(times)]
    return all(gap <= 0 for gap in gaps) or all(gap >= 0 for gap in gaps)
