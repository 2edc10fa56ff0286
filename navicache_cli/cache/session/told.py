"""Where a generation stands, as the caller tells it: the step, its time, and the branch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from navicache_cli.cache.policies.policy import check_count
from navicache_cli.errors import UsageError


class Names:
    """The name of the branch that calls belong to.

    Attributes:
        names: the outermost first; empty where its place in the order of calls names it.
    """

    def __init__(self) -> None:
        self.names: tuple[Hashable, ...] = ()

    @contextmanager
    def branch(self, *names: Hashable) -> Iterator[None]:
        """Calls within this belong to the branch of these names, in the one outside it if there is one."""
        before = self.names
        self.names = (*before, *names)
        try:
            yield
        finally:
            self.names = before


class Told(Names):
    """What is said of the calls that follow. Where a step is told, none is inferred from the calls.

    Attributes:
        index: number of the step; None where nobody tells it.
        time: t_i, in units of the sampler's own that only rise or only fall.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begin(total_steps=0)

    def begin(self, total_steps: int) -> None:
        """A generation of `total_steps` steps starts, and nothing has been told of its steps."""
        self._total_steps = total_steps
        self.index: int | None = None
        self.time = 0.0

    def step(self, index: int, time: float | None = None) -> None:
        """The calls that follow belong to step `index`; see `Session.step`.

        Raises:
            UsageError: there is no such step, it lies before the present one, or was told of another time.
        """
        check_count(index, "a step", 0, hint="number the steps from 0")
        if index >= self._total_steps:
            raise UsageError(
                f"expected a step of 0 to {self._total_steps - 1}, found {index}",
                hint="begin the generation with the number of steps that the sampler takes",
            )
        if self.index is not None and index < self.index:
            raise UsageError(
                f"expected step {self.index} or a later one, found {index}",
                hint="begin another generation before its first step",
            )
        # Without a time steps are taken to be even, and to fall as timesteps do.
        time = float(self._total_steps - index) if time is None else float(time)
        if index == self.index and time != self.time:
            raise UsageError(
                f"expected step {index} at {self.time:g}, as was told before, found it at {time:g}",
                hint="begin another generation before its first step",
            )
        self.index, self.time = index, time
