"""Layers of plan values merged by OmegaConf into one structure, each value with where it is from.

Values are read before they are merged, and travel in a `Given`: in plain text OmegaConf would take `${…}` for
a reference to another value or to the environment, and `???` for nothing. A prompt is free to have either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import make_dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.layers import Layer, unfit
from navicache_cli.plan.presets import unknown

_FLAGS = {"allow_objects": True}


class Given:
    """A value as an option's reader returns it, and its source."""

    def __init__(self, value: Any, source: str) -> None:
        self.value = value
        self.source = source


@cache
def nothing() -> DictConfig:
    """The structure that layers are merged into: every key, none of them given."""
    kind = make_dataclass("Values", [(key, Any, None) for key in READERS])
    return OmegaConf.structured(kind, flags=_FLAGS)


def merge(base: DictConfig, layers: Iterable[Layer], read: Callable[[str, Any], Any]) -> DictConfig:
    """Merge layers, weakest first, over a structure that stays as it is.

    Args:
        base: `nothing()`, or what was merged before.
        layers: values as they were written.
        read: takes a key and its value; raises ValueError with what it expects.

    Raises:
        UsageError: an unknown key, or a value that does not fit.
    """
    nodes = [OmegaConf.create(_given(layer, read), flags=_FLAGS) for layer in layers]
    merged = OmegaConf.merge(base, *nodes)
    assert isinstance(merged, DictConfig), "it is what its first argument is"
    return merged


def given_in(merged: DictConfig) -> dict[str, Given]:
    """Return what was given, by key."""
    found: dict[str, Given | None] = OmegaConf.to_container(merged, resolve=False)  # type: ignore[assignment]
    return {key: one for key, one in found.items() if one is not None}


def _given(layer: Layer, read: Callable[[str, Any], Any]) -> dict[str, Given]:
    given = {}
    for key, value in layer.values.items():
        if key not in READERS:
            raise UsageError(f"{unknown('key', key, READERS)} ({layer.source(key)})", "see --help")
        try:
            given[key] = Given(read(key, value), layer.source(key))
        except ValueError as error:
            raise unfit(key, value, error, layer) from None
    return given
