"""How an error made on the way grows until the latents are done."""

from __future__ import annotations

import math

# Measured on `tiny` with errors of single steps; one curve fits every shift and scale of guidance.
_SETTLED, _STEEPNESS, _MOST = 0.72, 0.8, 8.0


def growth(time: float, first: float) -> float:
    """How much larger an error made at a step is at the end than one made late.

    Early steps decide what the video shows: there a small error turns it into another.

    Args:
        time: of the step. Over `first` it is the noise level, 0 to 1, as it is for rectified flow. Where
            times rise nobody knows how much noise they stand for, and errors are not taken to grow.
        first: time of the first step, where all is noise.
    """
    noise = abs(time / first) if first else math.inf
    if noise > 1:
        return 1.0
    times: float = ((1 - _SETTLED) / max(1 - noise, 1e-9)) ** _STEEPNESS
    return min(_MOST, max(1.0, times))
