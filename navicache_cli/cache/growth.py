"""How an error made on the way grows until the latents are done."""

from __future__ import annotations

# Measured on `tiny` with errors of single steps; one curve fits every shift and scale of guidance.
_SETTLED, _STEEPNESS, _MOST = 0.72, 0.8, 8.0


def growth(noise: float) -> float:
    """How much larger an error made at this noise level, 0 to 1, is at the end than one made late.

    Early steps decide what the video shows: there a small error turns it into another.
    """
    times: float = ((1 - _SETTLED) / max(1 - noise, 1e-9)) ** _STEEPNESS
    return min(_MOST, max(1.0, times))
