"""The straight line through the last two computed outputs, y_p and y_c, and how it meets the next, y_i."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.tensors import Tensors, float32_copy, sum_all


class Place(NamedTuple):
    """Where steps p, c and i lie.

    Attributes:
        weight: w = (i − c) / (c − p), in steps.
        between: v = (t_c − t_p) / (t_i − t_p), in timesteps.
    """

    weight: float
    between: float


def weight(step: int, history: Sequence[Kept]) -> float:
    """w = (i − c) / (c − p) of step i after what was kept, the newest first."""
    last, older = history[0].step, history[1].step
    return (step - last) / (last - older)


def place_of(call: Kept, history: Sequence[Kept]) -> Place:
    """The place of a computed call i, after what was kept; its timestep is not that of p."""
    last, older = history[:2]
    between = (last.timestep - older.timestep) / (call.timestep - older.timestep)
    return Place(weight(call.step, history), between)


def change(call: Kept, before: Kept) -> Tensors:
    """How far the outputs of a call are from those of one before it, float32."""
    return tuple(float32_copy(y).sub_(y_c) for y, y_c in zip(call.outputs, before.outputs, strict=True))


def products(before: Tensors, after: Tensors) -> dict[str, torch.Tensor]:
    """The inner products of `trend.Products`, 0-dim, on the device: of s = y_c − y_p and t = y_i − y_c."""
    pairs = {"before": (before, before), "across": (before, after), "change": (after, after)}
    return {name: _inner(*pair) for name, pair in pairs.items()}


def _inner(one: Tensors, other: Tensors) -> torch.Tensor:
    first, *rest = (sum_all(u * v) for u, v in zip(one, other, strict=True))
    return sum(rest, start=first)
