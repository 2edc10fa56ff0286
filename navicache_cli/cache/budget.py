"""A budget in the place of a threshold: which threshold spends what is left of it by the last step."""

from __future__ import annotations

import math

from navicache_cli.errors import UsageError

# Weight of the newest step in the running means the rest of the generation is foretold by.
_FRESH = 0.1
# Runs of skips share out Σ e^POWER evenly, see `Budget`.
POWER = 1 / 3


def least_computed(total_steps: int, align_steps: int) -> int:
    """The fewest steps a gate can compute: alignment, or two for a first ratio, and the last."""
    return min(total_steps, max(align_steps, 2) + 1)


class Budget:
    """Aims at computing `compute` of all steps, to the nearest whole step.

    Before each step, with S steps left from this one on, the last left out, of which B may be computed:
    compute if B ≥ S, skip if B = 0, otherwise, with w_i = e_i^p of the change e_i that this step adds, and
    W = Σ w over the run of skips before it, skip if

        W + w_i < (W + w_i + F) / (B + 1) − w_i / 2
        F = max(m (S − 1), r (λ_{N−2} − λ_i)),   λ_i = log(i / (N − i))

    F is what the later steps are expected to weigh. m and r are running means of w_i and of
    w_i / (λ_i − λ_{i−1}). Early, outputs change about evenly from step to step; towards the end, evenly in
    half the log-SNR, which for rectified flow is λ_i but for a constant, whatever the schedule's shift. So
    the weight expected by the end is shared out evenly among the B + 1 runs of skips that are left; half
    a step is taken off because a run ends at the first step at or beyond its share.

    A fixed threshold gives every run of skips the same change, which is p = 1: it makes the largest error
    least. But the sampler adds errors up. h steps of held outputs, e apart, are off by about e h² / 2 in
    all, and interpolated ones by a multiple of e h³; these sums are least where runs share out Σ e^(1/2),
    or Σ e^(1/3), evenly.

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
        self._run = 0.0  # W
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
        self._run = 0.0

    def decide(self, index: int, before: float, change: float) -> tuple[bool, float]:
        """Whether to skip step `index`, and the threshold that says so.

        Args:
            index: a step that is neither in alignment nor the last.
            before: E, accumulated before this step; 0 if the one before was computed.
            change: e_i, what this step adds to it.

        Returns:
            Whether to skip, and this run's share of the weight in units of E: where W + w_i comes up to its
            share, E + e_i comes up to the threshold.
        """
        steps = self._total - 1 - index
        left = self.planned - 1 - self._spent
        weight = change**POWER
        run = (self._run if before else 0.0) + weight
        rate = weight / (self._place(index) - self._place(index - 1))
        mean, slope = self._means or (weight, rate)
        mean, slope = mean + _FRESH * (weight - mean), slope + _FRESH * (rate - slope)
        self._means = mean, slope
        later = max(mean * (steps - 1), slope * (self._place(self._total - 2) - self._place(index)))
        share = max((run + later) / (left + 1) - weight / 2, 0.0) if left >= 0 else 0.0
        skip = left < steps and (left <= 0 or run < share)
        self._run = run if skip else 0.0
        self._spent += not skip
        return skip, share * (before + change) / run if run else share

    def _place(self, index: int) -> float:
        """λ of a step, from the middle of the first one on."""
        passed = max(index, 0.5)
        return math.log(passed / (self._total - passed))
