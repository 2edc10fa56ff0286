"""The straight line through the last two computed outputs, y_p and y_c, and how it meets the next, y_i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.predictors.trend import Fit, Products, TrendFilter
from navicache_cli.cache.tensors import Tensors, float32_copy, sum_all


def weight(step: int, history: Sequence[Kept]) -> float:
    """w = (i − c) / (c − p) of step i after what was kept, the newest first."""
    last, older = history[0].step, history[1].step
    return (step - last) / (last - older)


def change(call: Kept, before: Kept) -> Tensors:
    """How far the outputs of a call are from those of one before it, float32."""
    return tuple(float32_copy(y).sub_(y_c) for y, y_c in zip(call.outputs, before.outputs, strict=True))


class LineFilter:
    """A `TrendFilter` of outputs: it measures them on the device, and learns once the numbers are read."""

    def __init__(self) -> None:
        self._trend = TrendFilter()
        self._place = (0.0, 0.0)  # w and v of what was measured last

    @property
    def fit(self) -> Fit:
        """What is known."""
        return self._trend.fit

    def measure(
        self, call: Kept, history: Sequence[Kept], before: Tensors, after: Tensors
    ) -> dict[str, torch.Tensor]:
        """The inner products of `trend.Products`, 0-dim, on the device.

        Args:
            call: i, a computed one; its timestep is not that of p.
            history: c and p.
            before: s = y_c − y_p, of a branch or a combination of branches.
            after: t = y_i − y_c, of the same.
        """
        last, older = history[:2]
        between = (last.timestep - older.timestep) / (call.timestep - older.timestep)
        self._place = weight(call.step, history), between
        pairs = {"before": (before, before), "across": (before, after), "change": (after, after)}
        return {name: _inner(*pair) for name, pair in pairs.items()}

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the values of what was measured last."""
        w, v = self._place
        self._trend.observe(Products(**numbers, weight=w, place=v))


def _inner(one: Tensors, other: Tensors) -> torch.Tensor:
    first, *rest = (sum_all(u * v) for u, v in zip(one, other, strict=True))
    return sum(rest, start=first)
