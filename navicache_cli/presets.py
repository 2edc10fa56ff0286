"""Presets: what is known of each model family before anything is loaded, read from `presets/*.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from .errors import UsageError
from .reading import expand_user, read_utf8

OFF = "off"  # the mode that computes every step; every model has it
MOST_YAML = 1 << 20  # bytes of a file; the largest preset has a hundredth of that


@dataclass(frozen=True)
class Preset:
    """One model family's file.

    Attributes:
        model: name used with `--model`.
        title: name for people.
        repository: official source, or "" for a built-in model.
        frame_rule: `4n+1` or `any`.
        fps: frames a second of the finished video.
        solvers: sampler names the model offers, its default first.
        takes: options that only some families have and this one does; see `options.FAMILY_OPTIONS`.
        defaults: plan values before task and mode.
        parallel: plan values that several processes change.
        tasks: plan values a task changes; `sizes` it supports; `inputs`, the pictures it needs (options of
            the plan); `optional_inputs`, those it may take; `by_size`, plan values a size changes; `methods`,
            as below, for the task alone (and in `by_size` for a size alone).
        modes: plan values a mode changes; `off` is not listed.
        sources: where the figures come from.
        aspect_ratios: names of aspect ratios, the default first; see `by_name`.
        named_sizes: for each name of a size, as in `sizes`, the pixels at each of `aspect_ratios`.
        named_frames: numbers of frames that have a name.
        examples: prompts for comparisons; empty for the default prompt alone.
        methods: the methods of other papers that the family offers, each with its plan values; `modes` in
            them, plan values a mode changes.
        referees: caches of other libraries that can run this model's weights, each with its knobs, and
            `modes` as for methods; see `compare.referees`.
    """

    model: str
    title: str
    repository: str
    frame_rule: str
    fps: int
    solvers: list[str]
    takes: list[str]
    defaults: dict[str, Any]
    parallel: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    modes: dict[str, dict[str, Any]]
    sources: dict[str, str]
    aspect_ratios: list[str] = field(default_factory=list)
    named_sizes: dict[str, list[str]] = field(default_factory=dict)
    named_frames: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    referees: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of text to plain values by the core schema of YAML 1.2; see `yaml_core.parse_yaml`.

    Raises:
        UsageError: the file is missing, not YAML, or not a mapping.
    """
    from .yaml_core import parse_yaml

    try:
        data = parse_yaml(read_utf8(expand_user(path), MOST_YAML))
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {path}: {error.strerror}", "check the path"
        ) from None
    except ValueError as error:
        raise UsageError(f"cannot read the configuration {path}: {error}", _MEND) from None
    if data is None:  # an empty file
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds a list or a single value, a mapping was expected", _MEND)
    return data


_MEND = "mend the file: it is a mapping, such as `steps: 30`"


@cache
def load_presets() -> dict[str, Preset]:
    """Read all presets, by model name; the built-in model first."""
    found = {}
    for entry in files("presets").iterdir():
        if entry.name.endswith(".yaml"):
            data = read_yaml(Path(str(entry)))
            found[data["model"]] = Preset(**{"repository": "", "takes": [], "parallel": {}, **data})
    return dict(sorted(found.items(), key=lambda item: (item[0] != "tiny", item[0])))


def preset_for(model: str) -> Preset:
    """Return the preset of a model.

    Raises:
        UsageError: there is no such model.
    """
    presets = load_presets()
    if model not in presets:
        raise UsageError(unknown("model", model, presets), "`navicache models` lists them")
    return presets[model]


def unknown(what: str, value: object, known: Any) -> str:
    """Say that a name is not known, with the closest known one first."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(str(value), names, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    return f"unknown {what} {str(value)[:60]!r}, expected one of: {', '.join(names)}{guess}"
