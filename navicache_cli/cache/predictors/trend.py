"""What a calibrated predictor learns: one coefficient, by least squares with forgetting, and two records.

Plain arithmetic on inner products measured at computed steps; no tensors. One object per branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# How much of what was learned is left at the next computed step.
FORGETTING = 0.7
# Pulls the coefficient towards 1, a straight line; in units of the change's own square.
RIDGE = 3.0
# A prediction must have left less than this share of the change's square to be used instead of holding.
TRUSTED = 1.0
# Interpolation must have left less than this share: half is what it leaves where successive changes have
# nothing to do with one another.
SMOOTH = 0.5
# One wild measurement should not silence a record for the rest of a generation.
_WORST = 4.0


@dataclass(frozen=True)
class Products:
    """Inner products over all elements at a computed step i, after the computed steps c and, before it, p.

    Attributes:
        before: <s, s>, s = y_c − y_p.
        across: <s, t>, t = y_i − y_c.
        change: <t, t>.
        weight: w = (i − c) / (c − p), so that w s is what a straight line predicts for t.
        place: v = (t_c − t_p) / (t_i − t_p), where in timesteps c lies between p and i, 0 to 1.
    """

    before: float
    across: float
    change: float
    weight: float
    place: float


@dataclass(frozen=True)
class Fit:
    """What is known before a step.

    Attributes:
        trend: a, how much of a straight line through the last two computed outputs to follow.
        deviation: its standard deviation.
        record: root mean square of what past predictions missed, by what holding missed; None before any.
        used: whether that record is good enough to predict by; otherwise the output is held.
        corrects: whether interpolation has been good enough for error feedback to rely on it.
    """

    trend: float = 1.0
    deviation: float = math.inf
    record: float | None = None
    used: bool = False
    corrects: bool = False


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
    """Recursive least squares for t ≈ a w s, with errors in s, and how well it has predicted t so far.

    Outputs jitter from step to step, and y_c is on both sides: plain least squares would take the jitter
    for a want of trend, and shrink a. Its size shows in what is left when y_c is interpolated between its
    neighbours, and is taken out of both moments. At each computed step, all products divided by <t, t> so
    that every step counts alike, f the forgetting and λ the ridge:

        n = |(1 − v) s − v t|² / (1 + v² + (1 − v)²)
        S ← f S + max(w² (<s, s> − 2 n), 0);   b ← f b + w (<s, t> + n);   a = (b + λ) / (S + λ), 0 to 1

    The variance of a is the first record, of |t − a w s|² / |t|² with the a from before the step, over
    S + λ. The other record is of |(1 − v) s − v t|² / |s|². The correction is that of errors in variables,
    W. A. Fuller, Measurement Error Models, 1987.
    """

    def __init__(self) -> None:
        self.fit = Fit()
        self._squares = 0.0  # S
        self._products = 0.0  # b
        self._predicted = Record()
        self._interpolated = Record()

    def observe(self, products: Products) -> None:
        """Learn from a computed step; no change, or numbers that are not finite, only mar the records."""
        ss, st, tt = products.before, products.across, products.change
        slope = self.fit.trend * products.weight
        self._predicted.add(tt - 2 * slope * st + slope * slope * ss, tt)
        here, there = 1 - products.place, products.place
        bend = here * here * ss - 2 * here * there * st + there * there * tt
        self._interpolated.add(bend, ss)
        noise = max(bend, 0.0) / (1 + here * here + there * there)
        self._absorb(
            max(products.weight**2 * (ss - 2 * noise), 0.0), products.weight * (st + noise), products.change
        )
        mean = self._predicted.mean
        assert mean is not None
        self.fit = Fit(
            min(max((self._products + RIDGE) / (self._squares + RIDGE), 0.0), 1.0),
            math.sqrt(mean / (self._squares + RIDGE)),
            math.sqrt(mean),
            self._predicted.below(TRUSTED),
            self._interpolated.below(SMOOTH),
        )

    def _absorb(self, square: float, product: float, change: float) -> None:
        if change > 0 and math.isfinite(square / change) and math.isfinite(product / change):
            self._squares = FORGETTING * self._squares + square / change
            self._products = FORGETTING * self._products + product / change


def relative(missed: float, square: float) -> float:
    """missed / square, at least 0 and at most 4; also where they are not finite, or nothing was to be met."""
    if not (math.isfinite(missed) and math.isfinite(square)):
        return _WORST
    if square <= 0:
        return 1.0 if missed <= 0 else _WORST
    return min(max(missed, 0.0) / square, _WORST)
