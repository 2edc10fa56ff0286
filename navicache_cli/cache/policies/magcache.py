"""MagCache (NeurIPS 2025, arXiv 2506.09045): the residual's magnitude falls by a law known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from navicache_cli.cache.policies.policy import (
    Decision,
    Measure,
    Region,
    Signal,
    Unmeasured,
    check_count,
    check_threshold,
)
from navicache_cli.cache.policies.settings import setting
from navicache_cli.errors import UsageError
from navicache_cli.values import read_integer, read_number, read_text


@dataclass(frozen=True)
class MagCacheSettings:
    """What it takes of a plan; see `MagCache`.

    Attributes:
        ratios: a .json file of γ, or the name of one beside the preset.
        max_skips: K.
        retention: ρ.
    """

    ratios: str = setting("", read_text, "FILE.json", file=True)
    max_skips: int = setting(3, read_integer, "4")
    retention: float = setting(0.2, read_number, "0.2")


class MagCache(Unmeasured):
    """Skip while the error of the kept residual's magnitude, summed up, stays below τ; at most K times.

    After the first ⌊ρN⌋ steps: R ← R · γ_i, E ← E + |1 − R|, and skip exactly when E < τ and at most K steps
    in a row; a computed step sets R = 1 and E = 0. γ_i is the magnitude of the residual of the stack of
    blocks at step i by that at the step before, measured once for a model. Rule and ratios:
    MagCache4Wan2.1/magcache_generate.py, MagCache4HunyuanVideo/magcache_sample_video.py and
    eval/magcache/experiments/opensora.py of Zehong-Ma/MagCache at df81cb1; the latter two also skip at E = τ.
    There each branch of Wan2.1 decides for itself by its own ratios; here all follow the conditional one.

    Args:
        threshold: τ; at least 0. A larger one skips more.
        ratios: γ, one per step, of a generation of any length; for another one the nearest are taken.
        max_skips: K, the most steps skipped in a row.
        retention: ρ, the share of first steps that are always computed; the very first is in any case.

    Raises:
        UsageError: a number is out of range. With no ratios, that is said when a generation starts.
    """

    name = "magcache"
    region = Region.STACK
    signal = Signal.NONE

    def __init__(
        self,
        threshold: float,
        ratios: Sequence[float] = (),
        max_skips: int = 3,
        retention: float = 0.2,
    ) -> None:
        self.threshold = check_threshold(threshold)
        self.max_skips = check_count(
            max_skips, "max_skips", 0, hint="max_skips=4; 2 to 6 are the published ones"
        )
        if not 0 <= retention <= 1:
            raise UsageError(
                f"expected a retention between 0 and 1, found {retention}",
                hint="retention=0.2 is the published one",
            )
        self.retention = retention
        self.ratios = tuple(ratios)
        if not all(math.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            raise UsageError("expected magnitude ratios above 0, found others", hint="measure them again")
        self.begin(total_steps=0)

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts.

        Raises:
            UsageError: there are no ratios.
        """
        if total_steps and not self.ratios:
            raise UsageError(
                "magcache expects the model's magnitude ratios, found none",
                hint="measure them in a generation with the policy MeasureRatios, and pass them as ratios",
            )
        self._ratios = nearest(self.ratios, total_steps)
        self._retained = max(1, int(total_steps * self.retention))
        self._reset()

    def _reset(self) -> None:
        self._ratio, self._error, self._skips = 1.0, 0.0, 0

    def decide(self, index: int, signal: float | None) -> Decision:
        if index < self._retained:
            return Decision(compute=True, forced=True, accumulated_error=0.0)
        self._ratio *= self._ratios[index]
        self._skips += 1
        change = abs(1 - self._ratio)
        self._error += change
        ratio, error = self._ratio, self._error
        skip = error < self.threshold and self._skips <= self.max_skips
        if not skip:
            self._reset()
        return Decision(not skip, ratio=ratio, predicted_change=change, accumulated_error=error)


class MeasureRatios(Unmeasured):
    """Computes every step, while the session measures the ratios that `MagCache` needs."""

    name = "measure-ratios"
    region = Region.STACK
    signal = Signal.NONE
    measures = Measure.RESIDUAL

    def decide(self, index: int, signal: float | None) -> Decision:
        return Decision(compute=True, forced=True)


def nearest(values: Sequence[float], count: int) -> list[float]:
    """`count` of the `values`, evenly spread from the first to the last; the nearest where none fits.

    As `nearest_interp` in MagCache's code: a half is rounded to the even place, and one value is the last.
    """
    if count == 1:
        return [values[-1]]
    return [values[round(k * ((len(values) - 1) / (count - 1)))] for k in range(count)]
