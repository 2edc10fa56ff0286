"""The steps of a schedule: which to compute is known before the generation starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from navicache_cli.cache.policies.easycache import EasyCache
from navicache_cli.cache.policies.policy import Decision, Measure, PredictorSpec, Unmeasured
from navicache_cli.errors import UsageError

COMPUTED, SKIPPED = "#", "."


class Scheduled(Unmeasured):
    """Computes the listed steps and skips all others, whatever is measured.

    Where these should lie is searched on recorded generations, see `recording.search`. What the skips come to
    is followed as EasyCache does, so that the error of the latents is predicted as for a gate's decisions.

    Args:
        computed: for each step whether it is computed; the first and the last are.

    Raises:
        UsageError: the first or the last is not.
    """

    name = "scheduled"
    caches = True
    region = EasyCache.region
    signal = EasyCache.signal
    measures = Measure.CHANGES
    predictor = PredictorSpec("calibrated")

    def __init__(self, computed: Sequence[bool]) -> None:
        self.computed = tuple(computed)
        if not self.computed or not (self.computed[0] and self.computed[-1]):
            raise UsageError(
                f"expected a schedule that computes the first and the last step, found {strip(computed)!r}",
                hint="make the schedule again: navicache schedule",
            )
        self._gate = EasyCache(threshold=sys.float_info.max, align_steps=0)

    def begin(self, total_steps: int) -> None:
        """A generation of `total_steps` steps starts.

        Raises:
            UsageError: the schedule is of another number of steps.
        """
        if total_steps != len(self.computed):
            raise UsageError(
                f"expected a generation of the schedule's {len(self.computed)} steps, found {total_steps}",
                hint=f"make one of {total_steps} steps: navicache schedule --steps {total_steps}",
            )
        self._gate.begin(total_steps)

    def forget(self, total_steps: int) -> None:
        """Forget what was measured."""
        self._gate.forget(total_steps)

    def decide(self, index: int, input_change: float | None) -> Decision:
        """Decide step `index`."""
        seen = self._gate.decide(index, input_change)
        known = self.computed[index] or seen.predicted_change is not None
        return replace(
            seen,
            compute=self.computed[index],
            forced=False,
            accumulated_error=seen.accumulated_error if known else None,
            threshold=None,
        )

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        """See `Policy.observe`."""
        return self._gate.observe(index, input_span, output_span, output_norm)


def strip(computed: Sequence[bool]) -> str:
    """A schedule as text: one character a step, # computed and . skipped."""
    return "".join(COMPUTED if compute else SKIPPED for compute in computed)


def read_strip(text: str) -> tuple[bool, ...]:
    """The schedule that `strip` wrote.

    Raises:
        UsageError: there are other characters in it.
    """
    if set(text) - {COMPUTED, SKIPPED}:
        raise UsageError(
            f"expected one character a step, {COMPUTED} computed and {SKIPPED} skipped, found {text[:60]!r}",
            hint="make the schedule again: navicache schedule",
        )
    return tuple(step == COMPUTED for step in text)
