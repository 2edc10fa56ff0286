"""TeaCache (CVPR 2025, arXiv 2411.19108): the change of the modulated input, rescaled, tells the output's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from navicache_cli.cache.policies.policy import (
    Decision,
    Region,
    Signal,
    Unmeasured,
    check_count,
    check_threshold,
)
from navicache_cli.cache.policies.settings import setting
from navicache_cli.errors import UsageError
from navicache_cli.values import read_numbers

IDENTITY = (1.0, 0.0)


def _polynomial(text: str) -> tuple[float, ...]:
    return tuple(float(item) for item in text.split()) or IDENTITY


@dataclass(frozen=True)
class TeaCacheSettings:
    """What it takes of a plan; see `TeaCache`.

    Attributes:
        coefficients: of p, with spaces between; "" for p(x) = x.
    """

    coefficients: str = setting("", read_numbers, "'1 0'", _polynomial)


class TeaCache(Unmeasured):
    """Accumulate the rescaled relative change of the modulated input; skip while it stays below τ.

    E += p(‖m_i − m_{i−1}‖ / ‖m_{i−1}‖), and skip exactly when E < τ; a computed step sets E = 0. p is a
    polynomial fitted for a model; it may be negative, and then E falls. A skipped step adds the residual of
    the stack of blocks. Rule and polynomials: TeaCache4Wan2.1/teacache_generate.py (with --use_ret_steps),
    TeaCache4HunyuanVideo/teacache_sample_video.py and eval/teacache/experiments/opensora.py of
    ali-vilab/TeaCache at 7c10efc. As there, the last step is always computed where only the first is
    (align_steps up to 1), and may be skipped where more first steps are retained.

    Args:
        threshold: τ, relative; at least 0. A larger one skips more.
        align_steps: how many first steps are always computed; the very first is in any case.
        coefficients: of p, the highest power first.

    Raises:
        UsageError: a number is out of range.
    """

    name = "teacache"
    region = Region.STACK
    signal = Signal.MODULATION

    def __init__(
        self, threshold: float, align_steps: int = 1, coefficients: Sequence[float] = IDENTITY
    ) -> None:
        self.threshold = check_threshold(threshold)
        self.align_steps = check_count(align_steps, "align_steps", 0, hint="1 or 5 are the published ones")
        self.coefficients = tuple(coefficients)
        if not self.coefficients or not all(math.isfinite(c) for c in self.coefficients):
            raise UsageError(
                f"expected finite coefficients, found {list(self.coefficients)}",
                hint="write them from the highest power down, such as coefficients='1 0'",
            )
        self.begin(total_steps=0)

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts."""
        self._total_steps = total_steps
        self._error = 0.0

    def decide(self, index: int, change: float | None) -> Decision:
        """Decide step `index`, whose modulated input moved by `change`, relative to that of the last step."""
        last = self.align_steps <= 1 and index >= self._total_steps - 1
        if index < self.align_steps or last or change is None:
            self._error = 0.0
            return Decision(compute=True, forced=True, accumulated_error=0.0)
        rescaled = rescale(self.coefficients, change)
        error = self._error + rescaled
        # False for a number that is no number, too.
        skip = error < self.threshold and math.isfinite(change)
        self._error = error if skip else 0.0
        return Decision(not skip, predicted_change=rescaled, accumulated_error=error)


def rescale(coefficients: Sequence[float], change: float) -> float:
    """The polynomial of `coefficients`, highest power first, at `change`."""
    value = 0.0
    for coefficient in coefficients:
        value = value * change + coefficient
    return value
