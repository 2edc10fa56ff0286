"""Where options come from: layers of values, weakest first, each with the name of its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navicache_cli.errors import UsageError
from navicache_cli.plan.options import ENVIRONMENT_ALIASES, OPTIONS
from navicache_cli.plan.presets import read_yaml


@dataclass(frozen=True)
class Layer:
    """Option values from one place. `label` names the place; `{name}` in it becomes the option's name."""

    label: str
    values: Mapping[str, Any]

    def source(self, option: str) -> str:
        """Describe where `option` of this layer comes from."""
        return self.label.replace("{name}", option.replace("_", "-")).replace("{NAME}", option.upper())


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Collect `NAVICACHE_<OPTION>` variables, and the published `NAVICACHE_THRESH`."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        if f"NAVICACHE_{option.upper()}" in environment:
            values[option] = environment[f"NAVICACHE_{option.upper()}"]
    for variable, option in ENVIRONMENT_ALIASES.items():
        if variable in environment:
            values.setdefault(option, environment[variable])
    return Layer("environment NAVICACHE_{NAME}", values)


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """Parse `--set key=value` items.

    Raises:
        UsageError: an item has no `=`.
    """
    values = {}
    for item in assignments:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set expects key=value, found {item[:60]!r}", "write --set steps=30")
        values[key.strip().replace("-", "_")] = value
    return values


def option_layers(
    flags: dict[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> list[Layer]:
    """Collect what the user asked for, weakest first.

    Args:
        flags: options given as flags, None where not given.
        assignments: `--set` items.
        config: a YAML file of options.
        environment: variables, such as `os.environ`.

    Raises:
        UsageError: the file cannot be read, or an item has no `=`.
    """
    layers = []
    if config is not None:
        values = {key.replace("-", "_"): value for key, value in read_yaml(config).items()}
        layers.append(Layer(f"config {config.name}", values))
    layers.append(environment_layer(environment))
    layers.append(Layer("--set {name}", parse_assignments(assignments)))
    layers.append(Layer("--{name}", {key: value for key, value in flags.items() if value is not None}))
    return layers
