"""A budget in the place of a threshold: which threshold spends what is left of it by the last step."""

from __future__ import annotations

import math

from navicache_cli.errors import UsageError

# Weight of the newest step in the running means the rest of the generation is foretold by.
_FRESH = 0.1


def least_computed(total_steps: int, align_steps: int) -> int:
    """The fewest steps a gate can compute: alignment, or two for a first ratio, and the last."""
    return min(total_steps, max(align_steps, 2) + 1)


class Budget:
    """Aims at computing `compute` of all steps, to the nearest whole step.

    Before each step, with S steps left from this one on, the last left out, of which B may be computed:
    compute if B ≥ S, skip if B = 0, otherwise ask the gate at the threshold

        τ = (E + e_i + F) / (B + 1) − e_i / 2
        F = max(m (S − 1), r (λ_{N−2} − λ_i)),   λ_i = log(i / (N − i))

    E is the error accumulated before this step, e_i what this step adds, F what the later ones are
    expected to. m and r are running means of e_i and of e_i / (λ_i − λ_{i−1}). Early, outputs change
    about evenly from step to step; towards the end, evenly in half the log-SNR, which for rectified flow
    is λ_i but for a constant, whatever the schedule's shift. So the error expected by the end is shared
    out evenly among the B + 1 runs of skips that are left; half a step is taken off because a run ends at
    the first step at or beyond τ. Errors are spread about as under one fixed threshold, and the number of
    computed steps is the one asked for.

    Args:
        compute: share of the steps to compute, above 0, at most 1.

    Raises:
        UsageError: `compute` is out of range.
    """

    def __init__(self, compute: float) -> None:
        if not 0 < compute <= 1:
            raise UsageError(
                f"expected a share of steps above 0 and at most 1, found {compute:g}",
                hint="--compute 0.5 computes every second step in the mean; --speedup 2 says the same",
            )
        self.compute = compute
        self.begin(0, 0)

    def begin(self, total_steps: int, align_steps: int) -> None:
        """Forget everything: a generation of N `total_steps` starts, the first A `align_steps` computed.

        Raises:
            UsageError: so few steps cannot be reached.
        """
        self._total = total_steps
        self._spent = 0
        self._means: tuple[float, float] | None = None
        wish = self.compute * total_steps
        # Half a step up: what is asked for is a share, and 12.5 is no nearer to 12 than to 13.
        self.planned = max(1, math.floor(wish + 0.5)) if total_steps else 0
        least = least_computed(total_steps, align_steps)
        if total_steps and self.planned < least:
            raise UsageError(
                f"{total_steps} steps with {align_steps} to align take a compute share of "
                f"{least / total_steps:.3g} to 1, a speedup of 1 to {total_steps / least:.3g}; "
                f"found {self.compute:.3g}, a speedup of {1 / self.compute:.3g}",
                hint="ask for less, or lower --align-steps",
            )

    def forced(self) -> None:
        """A step was computed without asking."""
        self._spent += 1

    def decide(self, index: int, before: float, change: float) -> tuple[bool, float]:
        """Whether to skip step `index`, and the threshold that says so.

        Args:
            index: a step that is neither in alignment nor the last.
            before: E, accumulated before this step.
            change: e_i, what this step adds to it.
        """
        steps = self._total - 1 - index
        left = self.planned - 1 - self._spent
        rate = change / (self._place(index) - self._place(index - 1))
        mean, slope = self._means or (change, rate)
        mean, slope = mean + _FRESH * (change - mean), slope + _FRESH * (rate - slope)
        self._means = mean, slope
        later = max(mean * (steps - 1), slope * (self._place(self._total - 2) - self._place(index)))
        threshold = max((before + change + later) / (left + 1) - change / 2, 0.0) if left >= 0 else 0.0
        skip = left < steps and (left <= 0 or before + change < threshold)
        self._spent += not skip
        return skip, threshold

    def _place(self, index: int) -> float:
        """λ of a step, from the middle of the first one on."""
        passed = max(index, 0.5)
        return math.log(passed / (self._total - passed))
