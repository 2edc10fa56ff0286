"""What a calibrated predictor learns: two coefficients, by least squares with forgetting, and two records.

Plain arithmetic on inner products measured at computed steps; no tensors. One object a branch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# How much of what was learnt is left at the next computed step.
FORGETTING = 0.7
# Pulls both coefficients towards 0, which is to hold the output; in units of the change's own square.
RIDGE = 0.05
# A prediction must have left less than this share of the change's square to be used instead of holding.
TRUSTED = 0.9
# Interpolation must have left less than this share: half is what it leaves where successive changes have
# nothing to do with one another.
SMOOTH = 0.5
# One wild measurement should not silence a record for the rest of a generation.
_WORST = 4.0


@dataclass(frozen=True)
class Products:
    """Inner products over all elements, at a computed step.

    t is the change of the output since the step computed before, s the change between the two computed
    before that; d_1 and d_2 are the features t would have been predicted from, see `calibrated`.

    Attributes:
        features: <d_1, d_1>, <d_1, d_2>, <d_2, d_2>.
        targets: <d_1, t>, <d_2, t>.
        change: <t, t>.
        earlier: <s, s>, <s, t>; None where only one step had been computed before.
        place: where in timesteps the middle one of these three steps lies between the others, 0 to 1.
    """

    features: tuple[float, float, float]
    targets: tuple[float, float]
    change: float
    earlier: tuple[float, float] | None = None
    place: float = 0.5


@dataclass(frozen=True)
class Fit:
    """What is known before a step.

    Attributes:
        coefficients: a_1 of the input's move, a_2 of the output's trend.
        deviations: their standard deviations.
        record: root mean square of what past predictions missed, by what holding missed; None before any.
        used: whether that record is good enough to predict by; otherwise the output is held.
        settles: whether interpolation has been good enough to settle debts by, see `settlement.Account`.
    """

    coefficients: tuple[float, float] = (0.0, 0.0)
    deviations: tuple[float, float] = (math.inf, math.inf)
    record: float | None = None
    used: bool = False
    settles: bool = False


class Record:
    """A mean with forgetting of squared misses, relative to what was to be met.

    Attributes:
        last: the newest, at most 4.
        mean: None before any.
    """

    def __init__(self) -> None:
        self.last = _WORST
        self.mean: float | None = None
        self._sum = self._count = 0.0

    def add(self, missed: float, square: float) -> None:
        """Add a squared miss; `square` is that of what was to be met."""
        self.last = relative(missed, square)
        self._sum = FORGETTING * self._sum + self.last
        self._count = FORGETTING * self._count + 1
        self.mean = self._sum / self._count

    def below(self, limit: float) -> bool:
        """Whether both the mean and the newest are; a jump shows in the newest at once."""
        return self.mean is not None and max(self.mean, self.last) < limit


class TrendFilter:
    """Recursive least squares for t ≈ a_1 d_1 + a_2 d_2, and how well it has foretold t so far.

    At each computed step, all products divided by <t, t> so that every step counts alike, f the
    forgetting and λ the ridge:

        S ← f S + D;   b ← f b + d;   a = (S + λ I)⁻¹ b

    The coefficients' covariance is s² (S + λ I)⁻¹, s² the weighted mean of what the fit leaves of t. One
    record is of |t − a·d|² / |t|² with the a from before the step; the other of |(1 − v) s − v t|² /
    |s|², what was left of s when the output between s and t was interpolated from its neighbours.
    """

    def __init__(self) -> None:
        self.fit = Fit()
        self._features = (0.0, 0.0, 0.0)  # S
        self._targets = (0.0, 0.0)  # b
        self._count = 0.0
        self._predicted = Record()
        self._interpolated = Record()

    def observe(self, products: Products) -> None:
        """Learn from a computed step; no change, or numbers that are not finite, only mar the records."""
        if self._count:
            self._predicted.add(self._left_of(products, *self.fit.coefficients), products.change)
        if products.earlier is not None:
            ss, st = products.earlier
            here, there = 1 - products.place, products.place
            left = here * here * ss - 2 * here * there * st + there * there * products.change
            self._interpolated.add(left, ss)
        self._absorb(products)
        coefficients, deviations = self._solve()
        mean = self._predicted.mean
        self.fit = Fit(
            coefficients,
            deviations,
            None if mean is None else math.sqrt(mean),
            self._predicted.below(TRUSTED),
            self._interpolated.below(SMOOTH),
        )

    def _left_of(self, products: Products, a: float, b: float) -> float:
        """|t − a d_1 − b d_2|²."""
        (aa, ab, bb), (at, bt) = products.features, products.targets
        return products.change - 2 * (a * at + b * bt) + a * a * aa + 2 * a * b * ab + b * b * bb

    def _absorb(self, products: Products) -> None:
        numbers = (*products.features, *products.targets, products.change)
        if not products.change > 0 or not all(math.isfinite(number / products.change) for number in numbers):
            return
        aa, ab, bb, at, bt, _ = (number / products.change for number in numbers)
        old = self._features
        self._features = (
            FORGETTING * old[0] + aa,
            FORGETTING * old[1] + ab,
            FORGETTING * old[2] + bb,
        )
        self._targets = (FORGETTING * self._targets[0] + at, FORGETTING * self._targets[1] + bt)
        self._count = FORGETTING * self._count + 1

    def _solve(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The coefficients and their standard deviations."""
        (aa, ab, bb), (at, bt) = self._features, self._targets
        determinant = (aa + RIDGE) * (bb + RIDGE) - ab * ab
        if not self._count or not 0 < determinant < math.inf:
            return (0.0, 0.0), (math.inf, math.inf)
        a = ((bb + RIDGE) * at - ab * bt) / determinant
        b = ((aa + RIDGE) * bt - ab * at) / determinant
        # |t|² counts 1 at every step, so the weighted sum of these squares is the count.
        left = self._count - 2 * (a * at + b * bt) + a * a * aa + 2 * a * b * ab + b * b * bb
        noise = max(left, 0.0) / self._count / determinant
        return (a, b), (math.sqrt(noise * (bb + RIDGE)), math.sqrt(noise * (aa + RIDGE)))


def relative(missed: float, square: float) -> float:
    """missed / square, at least 0 and at most 4; also where they are not finite, or nothing was to be met."""
    if not (math.isfinite(missed) and math.isfinite(square)):
        return _WORST
    if square <= 0:
        return 1.0 if missed <= 0 else _WORST
    return min(max(missed, 0.0) / square, _WORST)


def products_of(numbers: Sequence[float], place: float | None) -> Products:
    """Read eight numbers in the order of the attributes; without a `place` the last two mean nothing."""
    aa, ab, bb, at, bt, tt, ss, st = numbers
    if place is None:
        return Products((aa, ab, bb), (at, bt), tt)
    return Products((aa, ab, bb), (at, bt), tt, (ss, st), place)
