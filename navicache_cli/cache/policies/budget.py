"""A budget in the place of a threshold: which threshold spends what is left of it by the last step."""

from __future__ import annotations

import math

from navicache_cli.errors import UsageError

# Weight of the newest step in the running means the rest of the generation is predicted by.
_FRESH = 0.1
# Runs of skips share out Σ (e exp(−E))^(1/3) evenly, see `Budget`.
_POWER = 1 / 3
# The most steps to align with: a mode's 10 of 50 would leave half of a budget for the rest.
_ALIGN = 5
# So many of the last steps are computed, where the budget is not too small for it.
_TAIL = 3
# E up to which earlier errors are taken to grow: beyond, outputs have changed past recognition.
_GROWTH = 3.0
# After so many runs of skips the next one may be a step longer.
_RAMP = 3
# And until then at most so much shorter than the mean run, in steps, as a share of the steps is left.
_CAUTION = 1.2


def check_budget(name: str, value: float) -> None:
    """Check that a budget is one.

    Args:
        name: "speedup" or "compute".
        value: of that name.

    Raises:
        UsageError: the value is out of range.
    """
    fits, expected, example = {
        "speedup": (value >= 1, "1 or more", "2"),
        "compute": (0 < value <= 1, "above 0, at most 1", "0.5"),
    }[name]
    if not fits:
        raise UsageError(f"{name} expects {expected}, found {value:g}", f"{name}={example}")


def least_computed(total_steps: int, align_steps: int) -> int:
    """The fewest steps a gate can compute: alignment, or two for a first ratio, and the last."""
    return min(total_steps, max(align_steps, 2) + 1)


def share_of(speedup: float, compute: float) -> float:
    """The share of steps to compute that a budget asks for by either of the two; 0 where both are."""
    return 1 / speedup if speedup else compute


def budget_name(share: float) -> str:
    """A budget's share of steps as a speedup, such as 2x."""
    return f"{1 / share:.3g}x"


def most_align_steps(total_steps: int, compute: float) -> int:
    """How many steps to align with at most, where a budget says how many are computed: a quarter, 2 to 5."""
    return max(2, min(_ALIGN, planned_steps(total_steps, compute) // 4))


def planned_steps(total_steps: int, compute: float) -> int:
    """The whole number of steps nearest to a share of them, at least 1."""
    # Half a step up: what is asked for is a share, and 12.5 is no nearer to 12 than to 13.
    return max(1, math.floor(min(max(0.0, compute), 1.0) * total_steps + 0.5))


def reachable(total_steps: int, compute: float, align_steps: int) -> bool:
    """Whether a gate that aligns so many steps can compute so small a share of them all."""
    return planned_steps(total_steps, compute) >= least_computed(total_steps, align_steps)


class Budget:
    """Aims at computing `compute` of all steps, to the nearest whole step.

    The first steps are the gate's alignment, the last ones (three, or fewer where that would take over a
    quarter of what alignment leaves) are computed too: what is skipped there is never made good. In between,
    with S steps left from this one on, of which B may be computed: compute if B ≥ S, skip if B = 0. Else,
    with e_i the change that this step adds, E_i the sum of all e so far (at most 3),
    w_i = (e_i exp(−E_i))^(1/3), and W the sum of w over the run of skips before this step, skip if

        W + w_i < (W + w_i + F) / (B + 1) − w_i / 2

    and the run is then no longer than max(1 + ⌊R / 3⌋, S' / (B + 1) + 1/2 − 1.2 S / N) steps, R the number
    of runs before it and S' that of steps still to skip, those of this run with them.

    F is what the later of these steps are expected to weigh: the larger of what they would if each e were
    the mean of those seen, and if each were r (λ_j − λ_{j−1}), λ_j = log(j / (N − j)), r the mean of
    e_i / (λ_i − λ_{i−1}); both means are running ones. Early, outputs change about evenly from step to
    step; towards the end, evenly in half the log-SNR, which for rectified flow is λ but for a constant,
    whatever the schedule's shift. So the weight expected by the end is shared out evenly among the B + 1
    runs of skips that are left; half a step is taken off because a run ends at the first step at or
    beyond its share. Where more had to be computed than was asked for, the last steps are skipped instead,
    as long as more of them are left than of the budget.

    A fixed threshold gives every run of skips the same change: it makes the largest error least. But the
    sampler adds errors up: h steps that are interpolated in hindsight are off by a multiple of e h³ in
    all. And what is off grows with the outputs' change that is still to come (`ErrorEstimate`), so as
    exp(−E). These sums are least where runs share out w evenly. Early runs are kept short beyond that, since
    a small error there can still turn the picture into another.

    Args:
        compute: share of the steps to compute, above 0, at most 1.

    Raises:
        UsageError: `compute` is out of range.
    """

    def __init__(self, compute: float) -> None:
        if not 0 < compute <= 1:
            raise UsageError(
                f"expected a share of steps above 0 and at most 1, found {compute:g}",
                hint="compute=0.5 computes every second step on average; speedup=2 says the same",
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
        self._run_steps = self._runs = 0
        self._changed = 0.0  # E
        self._means: tuple[float, float] | None = None
        self._gaps = _log_snr_gaps(total_steps)
        self.planned = planned_steps(total_steps, self.compute) if total_steps else 0
        if total_steps and not reachable(total_steps, self.compute, align_steps):
            least = least_computed(total_steps, align_steps)
            raise UsageError(
                f"{total_steps} steps with {align_steps} to align take a compute share of "
                f"{least / total_steps:.3g} to 1, a speedup of 1 to {total_steps / least:.3g}; "
                f"found {self.compute:.3g}, a speedup of {1 / self.compute:.3g}",
                hint="ask for less, or lower align_steps",
            )
        self._tail = max(1, min(_TAIL, (self.planned - max(align_steps, 2)) // 4))

    def forced(self) -> None:
        """A step was computed without asking."""
        self._spent += 1
        self._end_run()

    def decide(self, index: int, before: float, change: float) -> tuple[bool, float]:
        """Whether to skip step `index`, and the threshold that says so.

        Args:
            index: a step that is neither in alignment nor the last.
            before: the gate's error accumulated before this step; 0 if the one before was computed.
            change: e_i, what this step adds to it.

        Returns:
            Whether to skip, and this run's share of the weight in units of that error, which comes up to the
            threshold where W + w_i comes up to its share; at a computed step no more than the error.
        """
        if not before:
            self._end_run()
        self._changed += change
        steps = self._total - self._tail - index
        left = self.planned - self._tail - self._spent
        weight = _weigh(change, self._changed)
        run, runs = self._run + weight, max(left, 0) + 1
        share = max((run + self._expected(index, change)) / runs - weight / 2, 0.0)
        mean = (steps + self._run_steps - left) / runs
        longest = max(1 + self._runs // _RAMP, mean + 0.5 - _CAUTION * steps / self._total)
        affordable = run < share and self._run_steps + 1 <= longest
        skip = steps > max(left, 0) and (affordable or left <= 0)
        skip |= self._total - index > self.planned - self._spent and steps <= 0
        error = before + change
        threshold = share * error / run if run else share
        if skip:
            self._run, self._run_steps = run, self._run_steps + 1
            return True, threshold
        self._end_run()
        self._spent += 1
        return False, min(threshold, error)

    def _expected(self, index: int, change: float) -> float:
        """F, with the means that this step has a part in."""
        rate = change / self._gaps[index]
        mean, slope = self._means or (change, rate)
        mean, slope = mean + _FRESH * (change - mean), slope + _FRESH * (rate - slope)
        self._means = mean, slope
        even = rising = 0.0
        even_sum = rising_sum = self._changed
        for later in range(index + 1, self._total - self._tail):
            step = slope * self._gaps[later]
            even_sum, rising_sum = even_sum + mean, rising_sum + step
            even, rising = even + _weigh(mean, even_sum), rising + _weigh(step, rising_sum)
        return max(even, rising)

    def _end_run(self) -> None:
        self._runs += self._run_steps > 0
        self._run, self._run_steps = 0.0, 0


def _log_snr_gaps(steps: int) -> list[float]:
    """λ_i − λ_{i−1} for each step i of N, from the middle of the first one on; 0 for the first."""
    passed = [max(index, 0.5) for index in range(steps)]
    places = [math.log(one / (steps - one)) for one in passed]
    return [here - before for before, here in zip(places[:1] + places, places, strict=False)]


def _weigh(change: float, changed: float) -> float:
    """(e exp(−E))^(1/3)."""
    weight: float = (change * math.exp(-min(changed, _GROWTH))) ** _POWER
    return weight
