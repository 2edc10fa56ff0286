"""A budget in the place of a threshold: which threshold spends what is left of it by the last step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from navicache_cli.errors import UsageError

# The most steps to align with where half of all are computed or more, and where fewer are: a mode's 10 of 50
# would leave half of a budget for the rest.
_ALIGN, _ALIGN_OF_FEW = 5, 3
# So many of the last steps are computed, where the budget is not too small for it: what they miss is never
# made good.
_TAIL = 2
# What is left of an old measurement, of its logarithm: in what the present run is held against, and in what
# the rest of the generation is forecast from.
_RECENT, _LASTING = 0.5, 0.85
# Misses per unit of λ fall by exp(-_CALM) over a whole generation, see `_pace`.
_CALM = 1.4
# An error made at a step grows by exp(_GROWTH · change) until outputs have changed by _SETTLED, relative.
_GROWTH, _SETTLED = 0.8, 3.0
# Halvings of the range in which θ is looked for; the number of computed steps changes by whole steps.
_HALVINGS = 24
_SHIFTS = (0.01, 100.0)


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
    """The most steps to align with where a budget says how many are computed: a quarter of them, 2 to 5."""
    planned = planned_steps(total_steps, compute)
    most = _ALIGN if 2 * planned >= total_steps else _ALIGN_OF_FEW
    return max(2, min(most, planned // 4))


def planned_steps(total_steps: int, compute: float) -> int:
    """The whole number of steps nearest to a share of them, at least 1."""
    # Half a step up: what is asked for is a share, and 12.5 is no nearer to 12 than to 13.
    return max(1, math.floor(min(max(0.0, compute), 1.0) * total_steps + 0.5))


def reachable(total_steps: int, compute: float, align_steps: int) -> bool:
    """Whether a gate that aligns so many steps can compute so small a share of them all."""
    return planned_steps(total_steps, compute) >= least_computed(total_steps, align_steps)


class Budget:
    """Aims at computing `compute` of all steps, to the nearest whole step.

    A skipped step j, c the computed one before it, is expected to move the latents wrong by

        e_j = g_j σ_j ρ p_j (j − c)

    ρ p_j is what a prediction misses for each step it lies ahead. p_j = (λ_j − λ_{j−1}) exp(−1.4 j / N),
    λ_j = log(j / (N − j)): outputs change about evenly in half the log-SNR, which for rectified flow is λ
    but for a constant, and ever more slowly. ρ is measured, at each computed step; the mean of its
    logarithm is taken with two forgettings. σ_j is how far the sampler moves: for rectified flow,
    t_j = s u / (1 + (s − 1) u), u = 1 − j / N, and the shift s is read off the timesteps seen. g_j says how
    what is wrong grows until the end: exp(−0.8 E_j), E_j the relative change of the outputs up to step j, at
    most 3.

    The run of skips goes on while the sum of its e stays below θ, the least with which the rest of the
    generation, forecast by the same formula, needs no more steps than are left of the budget. So every run
    adds about the same error, which error feedback then takes back: it is the largest one that counts. The
    present step is held against θ by what was measured last, the forecast is made of what has lasted;
    hence more steps are computed where predictions have become worse than expected.

    The first steps are the gate's alignment; the last two are computed, or one where that would take over
    a quarter of what alignment leaves. Where more had to be computed than was asked for, these are skipped.

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
        self._pace = _pace(total_steps)
        self._spent = 0
        self._computed = -1  # c
        self._before = -1  # the computed step before it
        self._run = 0.0  # Σ e of the run of skips
        self._first_time: float | None = None
        self._told = 0, 0.0  # the step told last, and its time
        self._misses = Rate()
        self._changes = Rate()
        self._changed = 0.0  # E at the step measured last
        self._norm = 0.0
        self._new: tuple[float, float, float] | None = None
        self.planned = planned_steps(total_steps, self.compute) if total_steps else 0
        self._tail = max(1, min(_TAIL, (self.planned - max(align_steps, 2)) // 4))
        if total_steps and not reachable(total_steps, self.compute, align_steps):
            least = least_computed(total_steps, align_steps)
            raise UsageError(
                f"{total_steps} steps with {align_steps} to align take a compute share of "
                f"{least / total_steps:.3g} to 1, a speedup of 1 to {total_steps / least:.3g}; "
                f"found {self.compute:.3g}, a speedup of {1 / self.compute:.3g}",
                hint="ask for less, or lower align_steps",
            )

    def measure(self, miss: float, change: float, norm: float) -> None:
        """The step computed last has been measured, perhaps anew: the last word counts.

        All three are in units of the output, of whatever norm.

        Args:
            miss: what its prediction would have missed.
            change: how far the output has moved since the computed step before.
            norm: of the output.
        """
        self._new = miss, change, norm

    def forced(self, index: int, time: float | None = None) -> None:
        """Step `index`, at timestep `time`, is computed without asking."""
        self._absorb()
        self._note(index, time)
        self._compute(index)

    def overruled(self, index: int) -> None:
        """Step `index` was to be skipped, and was computed."""
        if index > self._computed:
            self._compute(index)

    def decide(self, index: int, error: float, time: float | None = None) -> tuple[bool, float]:
        """Whether to skip step `index`, and the threshold that says so.

        Args:
            index: a step that is neither in alignment nor the last.
            error: what the gate has accumulated, with this step.
            time: its timestep.

        Returns:
            Whether to skip, and θ in units of that error: above it where the step is skipped.
        """
        self._absorb()
        self._note(index, time)
        left = self.planned - self._spent
        rest = self._total - index
        skip, share = left < rest and left <= self._tail, 1.0
        if self._tail < left < rest and self._misses.known:
            weights = self._weights(index)
            run = self._run + weights[0] * (index - self._computed)
            limit = self._limit(index, weights, left - self._tail)
            skip, share = run < limit, limit / run if run else 1.0
            self._run = run
        if skip:
            return True, error * max(share, math.nextafter(1.0, 2.0)) or math.ulp(0.0)
        self._compute(index)
        return False, error * min(share, 1.0)

    def _weights(self, index: int) -> list[float]:
        """e_j / (j − c) of this step and those after it that may be skipped, in units of their own."""
        place, shift = self._changed, self._shift()
        change = self._changes.recent / self._norm if self._norm else 0.0
        rates = [self._misses.recent] + [self._misses.lasting] * (self._total - self._tail - 1 - index)
        place += change * sum(self._pace[self._computed + 1 : index])
        found = []
        for step, rate in enumerate(rates, index):
            place += change * self._pace[step]
            grown = math.exp(-_GROWTH * min(place, _SETTLED))
            found.append(grown * _move(step, self._total, shift) * rate * self._pace[step])
        return found

    def _limit(self, index: int, weights: Sequence[float], left: int) -> float:
        """θ: the least with which no more than `left` of these steps are computed."""
        ahead = index - self._computed
        low = min(weights) / 2
        high = self._run + sum(weight * (ahead + place) for place, weight in enumerate(weights)) + low
        if not 0 < low < high < math.inf:
            return 0.0
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            if _needed(middle, self._run, ahead, weights, left) > left:
                low = middle
            else:
                high = middle
        return high

    def _shift(self) -> float:
        """s, by the timesteps of the first step and of the last one told."""
        first, (index, last) = self._first_time, self._told
        rest = 1 - index / self._total
        if not first or not 0 < last / first < 1 or rest <= 0:
            return 1.0
        ratio = last / first
        return min(max(ratio * (1 - rest) / (rest * (1 - ratio)), _SHIFTS[0]), _SHIFTS[1])

    def _note(self, index: int, time: float | None) -> None:
        if time is None:
            return
        if index == 0:
            self._first_time = time
        self._told = index, time

    def _compute(self, index: int) -> None:
        self._spent += 1
        self._before, self._computed = self._computed, index
        self._run = 0.0

    def _absorb(self) -> None:
        """Learn what was measured at c, where a computed step before it could predict it."""
        new, self._new = self._new, None
        if new is None or self._before < 0:
            return
        miss, change, norm = new
        pace = sum(self._pace[self._before + 1 : self._computed + 1])
        self._changed += change / self._norm if self._norm else 0.0
        self._norm = norm
        self._changes.add(change / pace)
        # The first change is by far the largest, and no trend is known then to predict it by.
        self._misses.add(miss / pace, fresh=self._before == 0)


class Rate:
    """Means with forgetting of the logarithm of a rate, once for the present and once for the rest.

    Attributes:
        known: whether anything was added.
        recent, lasting: the two means.
    """

    def __init__(self) -> None:
        self.known = self._fresh = False
        self.recent = self.lasting = 0.0

    def add(self, rate: float, *, fresh: bool = False) -> None:
        """Add a measurement, positive and finite or else left out; after a `fresh` one means begin anew."""
        if not 0 < rate < math.inf:
            return
        if not self.known or self._fresh:
            self.recent = self.lasting = rate
        else:
            self.recent = self.recent**_RECENT * rate ** (1 - _RECENT)
            self.lasting = self.lasting**_LASTING * rate ** (1 - _LASTING)
        self.known, self._fresh = True, fresh


def _needed(limit: float, run: float, ahead: int, weights: Sequence[float], most: int) -> int:
    """How many of these steps are computed below `limit`; counted to most + 1.

    Args:
        limit: θ.
        run: Σ e of the present run.
        ahead: how far the first of them lies ahead of the last computed step.
        weights: e_j / (j − c) of each.
        most: more than these are not told apart.
    """
    computed = 0
    for weight in weights:
        run += weight * ahead
        ahead += 1
        if run >= limit:
            computed, run, ahead = computed + 1, 0.0, 1
            if computed > most:
                break
    return computed


def _pace(steps: int) -> list[float]:
    """p_j for each step j of N; the first counts from the middle of it on."""
    places = [math.log(max(index, 0.5) / (steps - index)) for index in range(steps)]
    gaps = [here - before for before, here in zip(places[:1] + places, places, strict=False)]
    return [gap * math.exp(-_CALM * index / steps) for index, gap in enumerate(gaps)]


def _move(index: int, steps: int, shift: float) -> float:
    """How far the sampler moves with step `index` of N, as a share of the whole way."""
    here, there = (shift * u / (1 + (shift - 1) * u) for u in (1 - index / steps, 1 - (index + 1) / steps))
    return here - there
