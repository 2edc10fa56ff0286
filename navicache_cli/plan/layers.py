"""Where options come from: layers of values, weakest first, each with the name of its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import READERS, hint_for
from navicache_cli.plan.options import OPTIONS, TASK_FACTS
from navicache_cli.plan.presets import OFF, Preset, read_yaml


@dataclass(frozen=True)
class Layer:
    """Option values from one place.

    Attributes:
        label: names the place; `{name}` in it becomes the option's name.
        values: by option.
        places: of options that are from a place of another name.
    """

    label: str
    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)

    def source(self, option: str) -> str:
        """Describe where `option` of this layer comes from."""
        if option in self.places:
            return self.places[option]
        return self.label.replace("{name}", option.replace("_", "-"))


def unfit(key: str, value: object, error: ValueError, layer: Layer) -> UsageError:
    """The error for a value that a key's reader refused."""
    name = key.replace("_", "-")
    return UsageError(
        f"{name} expects {error}, found {str(value)[:60]!r} ({layer.source(key)})", hint_for(key)
    )


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Collect `NAVICACHE_<OPTION>` variables, and the published `NAVICACHE_THRESH`."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for key in READERS:
        others = OPTIONS[key].variables if key in OPTIONS else ()
        for variable in (f"NAVICACHE_{key.upper()}", *others):
            if variable in environment and key not in values:
                values[key], places[key] = environment[variable], f"environment {variable}"
    return Layer("environment", values, places)


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
        flags: options given as flags, None or an empty list where not given.
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
    layers.append(Layer("--{name}", {key: value for key, value in flags.items() if value not in (None, [])}))
    return layers


def preset_layers(preset: Preset, task: str, mode: str, size: str, several: bool) -> Iterator[Layer]:
    """Yield what a preset says of whatever method, weakest first.

    Args:
        preset: has the task and, unless it is `OFF`, the mode.
        size: whose own values count, if the task has any.
        several: whether several processes share the work.
    """
    label = f"preset {preset.model}"
    spec = preset.tasks[task]
    yield Layer(label, {"fps": preset.fps, **preset.defaults})
    yield Layer(f"{label} {task}", _plan_values(spec))
    yield Layer(f"{label} {task} {size}", _plan_values(spec.get("by_size", {}).get(size, {})))
    if several:
        yield Layer(f"{label}, several processes", preset.parallel)
    yield Layer(f"{label} {mode}", preset.modes.get(mode, {"method": OFF}))


def _plan_values(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in TASK_FACTS}


def method_layers(preset: Preset, task: str, size: str, mode: str, method: str) -> Iterator[Layer]:
    """Yield what a preset says of a method, weakest first.

    For all tasks, for the task, for the task at the size; each time in general, then for the mode.
    """
    label = f"preset {preset.model}"
    spec = preset.tasks[task]
    of_size = spec.get("by_size", {}).get(size, {})
    for where, methods in (
        (label, preset.methods),
        (f"{label} {task}", spec.get("methods", {})),
        (f"{label} {task} {size}", of_size.get("methods", {})),
    ):
        values = dict(methods.get(method, {}))
        modes = values.pop("modes", {})
        yield Layer(f"{where} {method}", values)
        yield Layer(f"{where} {method} {mode}", modes.get(mode, {}))
