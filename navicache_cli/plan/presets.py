"""Presets: what is known of each model family before anything is loaded.

Those of navicache's own families are `presets/*.yaml`; any other package's lies beside its code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from backends.registry import families
from navicache_cli.cache.policies.factory import METHODS
from navicache_cli.errors import BackendError, UsageError, one_line
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import BUILT_IN, OPTIONS, TASK_FACTS, options_with
from navicache_cli.reading import expand_user, read_utf8
from navicache_cli.report.schemas import read_schema

OFF = "off"  # the mode that computes every step; every model has it
ANY = "any"  # among sizes or samplers: which ones there are is for the weights to say
AUTO = "auto"  # one that the weights choose
MOST_YAML = 1 << 20  # bytes of a file; the largest preset has a hundredth of that
# Options that say what a user asks for or where it goes, which is not for a model family to decide.
_OF_THE_USER = options_with(Use.USER | Use.OUTPUT | Use.MEASURED)


@dataclass(frozen=True, eq=False)
class Preset:
    """One model family's file; `report/schemas/preset.schema.json` describes its form.

    A preset is read once and equals itself alone, so that results can be kept by it.

    Attributes:
        model: name used with `--model`.
        title: name for people.
        repository: official source, or "" for a built-in model.
        frame_rule: `4n+1` or `any`.
        fps: frames per second of the finished video.
        solvers: sampler names the model offers, its default first.
        takes: options that only some families have and this one does; those with `Use.FAMILY`.
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
        refused: tasks of the official code that are not run, each with what is said of it.
        budget: plan values of a budget; they hold where no mode and no threshold is asked for.
        defaults_in_weights: whether the backend finds more defaults in the weights that were chosen.
        peers: caches of other libraries that can run this model's weights, each with its knobs, and
            `modes` as for methods; see `compare.peers`.
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
    refused: dict[str, str] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    defaults_in_weights: bool = False
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of text to plain values by the core schema of YAML 1.2; see `yaml_core.parse_yaml`.

    Raises:
        UsageError: the file is missing, not YAML, or not a mapping.
    """
    from navicache_cli.yaml_core import parse_yaml

    try:
        data = parse_yaml(read_utf8(expand_user(path), MOST_YAML))
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {path}: {error.strerror}", "check the path"
        ) from None
    except ValueError as error:
        raise UsageError(f"cannot read the configuration {path}: {error}", _HINT) from None
    if data is None:  # an empty file
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds a list or a single value, a mapping was expected", _HINT)
    return data


_HINT = "fix the file: it must be a mapping, such as `steps: 30`"


def read_preset(path: Path, name: str) -> Preset:
    """Read and check the preset of the family `name`.

    Raises:
        UsageError: the file cannot be read, or is no preset of that family; the message says which key.
    """
    data = read_yaml(path)
    try:
        _check_form(data)
        _check(data, name)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", "see navicache_cli/report/schemas/preset.schema.json") from None
    return Preset(**{"repository": "", "takes": [], "parallel": {}, "sources": {}, **data})


def load_presets() -> dict[str, Preset]:
    """Return the presets of all families, by model name; the built-in model first. See `preset_faults`."""
    return _load().presets


def preset_faults() -> dict[str, BackendError]:
    """Return what is wrong with families of other packages whose preset cannot be used, by model name."""
    return _load().faults


def preset_for(model: str) -> Preset:
    """Return the preset of a model.

    Raises:
        UsageError: there is no such model.
        BackendError: a package offers it, but its preset cannot be used.
    """
    presets, faults, _ = _load()
    if model in faults:
        raise faults[model]
    if model not in presets:
        raise UsageError(unknown("model", model, presets), "`navicache models` lists them")
    return presets[model]


def preset_folder(model: str) -> Path:
    """Return the folder of a model's preset, where files that it names lie too."""
    return _load().folders[model]


class _Loaded(NamedTuple):
    presets: dict[str, Preset]
    faults: dict[str, BackendError]
    folders: dict[str, Path]


@cache
def _load() -> _Loaded:
    """Read the presets of all families; what is wrong with another package's is kept for those who ask."""
    own = [Path(str(entry)) for entry in files("presets").iterdir() if _is_preset(entry.name)]
    found = {path.stem: read_preset(path, path.stem) for path in own}
    folders = {path.stem: path.parent for path in own}
    faults: dict[str, BackendError] = {}
    for family in families():
        if family.name in found:
            continue
        try:
            if family.fault:
                raise family.error(family.fault)
            path = family.preset_file()
            found[family.name], folders[family.name] = read_preset(path, family.name), path.parent
        except BackendError as error:
            faults[family.name] = error
        except Exception as error:  # Other people's files: whatever is in them, all other models go on.
            faults[family.name] = family.error(one_line(error, 300))
    presets = dict(sorted(found.items(), key=lambda item: (item[0] != "tiny", item[0])))
    return _Loaded(presets, faults, folders)


def _is_preset(name: str) -> bool:
    """Whether a file beside the presets is one; schedules lie there too."""
    return name.endswith(".yaml") and not name.startswith("schedule-")


def _check_form(data: Mapping[str, Any]) -> None:
    """Check a preset against its schema.

    Raises:
        ValueError: naming the first key that does not fit.
    """
    from jsonschema import Draft202012Validator

    error = next(iter(Draft202012Validator(read_schema("preset")).iter_errors(data)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the document"
        raise ValueError(f"not a preset: {place}: {error.message[:160]}")


def _check(data: Mapping[str, Any], name: str) -> None:
    """Check what the schema cannot say: names and values of options, and that the parts fit together.

    Raises:
        ValueError: with the key, what was expected and what was found.
    """
    if data["model"] != name:
        raise ValueError(
            f"model: expected {name!r}, as the file and the entry point are called, found {data['model']!r}"
        )
    tasks, defaults, sizes = data["tasks"], data["defaults"], data.get("named_sizes", {})
    _known("defaults/task", [defaults["task"]], tasks)
    _known("takes", data.get("takes", []), options_with(Use.FAMILY))
    named = {"size": [*sizes, AUTO], "frames": data.get("named_frames", {})}
    for where, values in _plan_values(data):
        _known(where, values, [key for key in READERS if key not in _OF_THE_USER])
        for option, value in values.items():
            if str(value) not in named.get(option, ()):
                _read(f"{where}/{option}", option, value)
    for task, spec in tasks.items():
        for size in spec["sizes"]:
            if size not in (*sizes, ANY):
                _read(f"tasks/{task}/sizes", "size", size)
        for kind in ("inputs", "optional_inputs"):
            _known(f"tasks/{task}/{kind}", spec.get(kind, []), options_with(Use.FILE))
        _known(f"tasks/{task}/by_size", spec.get("by_size", {}), spec["sizes"])
    for size, pixels in sizes.items():
        if len(pixels) != len(data.get("aspect_ratios", [])):
            raise ValueError(
                f"named_sizes/{size}: expected a size for each of aspect_ratios, found {len(pixels)}"
            )
        for one in pixels:
            _read(f"named_sizes/{size}", "size", one)
    lacking = [
        option
        for option in OPTIONS
        if option not in (*BUILT_IN, *defaults, "fps") and not all(option in spec for spec in tasks.values())
    ]
    if lacking:
        raise ValueError(f"defaults: expected {', '.join(lacking)} too, found none")


def _plan_values(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping of plan values in a preset, with where it stands."""
    yield "defaults", data["defaults"]
    yield "parallel", data.get("parallel", {})
    yield "budget", data.get("budget", {})
    for mode, values in data["modes"].items():
        yield f"modes/{mode}", values
    yield from _method_values("methods", data)
    for task, spec in data["tasks"].items():
        of_size = {f"tasks/{task}/by_size/{size}": its for size, its in spec.get("by_size", {}).items()}
        for where, part in {f"tasks/{task}": spec, **of_size}.items():
            yield where, {key: value for key, value in part.items() if key not in TASK_FACTS}
            yield from _method_values(f"{where}/methods", part)


def _method_values(where: str, part: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    methods = part.get("methods", {})
    _known(where, methods, [method for method in METHODS if method != OFF])
    for method, values in methods.items():
        yield f"{where}/{method}", {key: value for key, value in values.items() if key != "modes"}
        for mode, changes in values.get("modes", {}).items():
            yield f"{where}/{method}/modes/{mode}", changes


def _known(where: str, names: Collection[Any], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: {unknown('name', name, known)}")


def _read(where: str, option: str, value: Any) -> None:
    try:
        READERS[option](value)
    except ValueError as error:
        raise ValueError(f"{where} expects {error}, found {str(value)[:60]!r}") from None


def unknown_task(preset: Preset, task: str) -> UsageError:
    """The error for a task that a family does not have, or has and navicache does not run."""
    message = unknown(f"task of {preset.model}", task, preset.tasks)
    if task in preset.refused:
        message = (
            f"expected {preset.model} with one of {', '.join(preset.tasks)}, "
            f"found {task}, which {preset.refused[task]}; navicache does not run it"
        )
    return UsageError(message, "`navicache models` lists them")


def unknown(what: str, value: object, known: Any) -> str:
    """Say that a name is not known, with the closest known one first."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(str(value), names, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    return f"unknown {what} {str(value)[:60]!r}, expected one of: {', '.join(names)}{guess}"
