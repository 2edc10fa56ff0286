"""Layers beside a preset's own: what only a model's weights know, and a budget where no mode is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from navicache_cli.cache.policies.budget import least_computed, reachable, share_of
from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.plan.layers import Layer, unfit
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.presets import Preset
from navicache_cli.values import read_text

_PACE = ("mode", "threshold", "speedup", "compute")  # each says how much is skipped


def pick(key: str, default: str, layers: Iterable[Layer]) -> str:
    """Read the text that the last of the layers says of a key."""
    picked = default
    for layer in layers:
        try:
            picked = read_text(layer.values.get(key, picked))
        except ValueError as error:
            raise unfit(key, layer.values[key], error, layer) from None
    return picked


def weights_layers(preset: Preset, layers: list[Layer]) -> list[Layer]:
    """What the weights that layers choose say of other options; see `backends.protocol.KnowsDefaults`.

    Raises:
        NavicacheError: the backend cannot tell, as no such weights are there.
    """
    if not preset.defaults_in_weights:
        return []
    from backends.registry import get_backend

    backend: Any = get_backend(preset.model)
    names = (*_PACE, *options_with(Use.LOADS))
    asked = [name for name in names if any(name in layer.values for layer in layers)]
    found: list[Layer] = backend.defaults({name: pick(name, "", layers) for name in asked})
    return found


def budget_layer(preset: Preset, layers: list[Layer]) -> Layer:
    """The preset's budget, where no layer asks for a mode, a threshold or a method without a budget.

    Beside a budget of the user's, it says the rest that belongs to one.
    """
    asked = {key for layer in layers for key in layer.values}
    budgeted = bool(asked & {"speedup", "compute"}) or not asked & {"mode", "threshold"}
    if not budgeted or pick("method", "", layers) not in ("", *PREDICTED_METHODS):
        return Layer("", {})
    own = {key: value for key, value in preset.budget.items() if key != "speedup" or "compute" not in asked}
    return Layer(f"preset {preset.model}", own)


def schedule_layer(layers: list[Layer]) -> Layer:
    """The predictor that schedules are made with, where layers ask for one."""
    return Layer("schedule", {"predictor": "calibrated"} if pick("schedule", "", layers) else {})


def feasible_speedup(speedup: float, steps: int, align_steps: int) -> float:
    """A preset's budget, as far as so few steps allow it."""
    if reachable(steps, share_of(speedup, 0.0), align_steps):
        return speedup
    return steps / least_computed(steps, align_steps)
