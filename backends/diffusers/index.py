"""What a pipeline's files say of it before anything is loaded, and whether they can be trusted to be loaded.

No code of a folder or of the hub runs. A part is a class of diffusers or of transformers, or one of
`backends.tiny.exported`, and has its weights in safetensors.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.diffusers.place import INDEX, Place
from backends.official.weight_files import read_config
from navicache_cli.errors import WeightsError
from navicache_cli.reading import read_json, read_utf8

OWN = "backends.tiny.exported"
MOST_INDEX = 1 << 20  # bytes; the largest has a thousandth of that
MOST_JSON = 256 << 20  # of a tokenizer's vocabulary
MOST_FILES = 10_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_AUTO = re.compile("Auto[A-Z]")  # classes of transformers that may load code which a configuration names
_SAVED = "write it with pipe.save_pretrained(FOLDER), or choose other --weights"


@dataclass(frozen=True)
class Index:
    """A pipeline's index.

    Attributes:
        place: whose.
        pipeline: name of its class in diffusers.
        parts: of each part that it has, the module and the class.
        settings: its other arguments, such as `boundary_ratio`.
    """

    place: Place
    pipeline: str
    parts: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_index(place: Place) -> Index:
    """Read and check the index of a pipeline.

    Raises:
        WeightsError: there is none, or it is none that diffusers and transformers can load by themselves.
    """
    path = place.folder / INDEX
    try:
        data = read_json(path, MOST_INDEX)
    except FileNotFoundError:
        raise WeightsError(f"expected {INDEX} in {place.name}, found none", _SAVED) from None
    except OSError as error:
        raise WeightsError(f"cannot read {INDEX} of {place.name}: {error.strerror}", _SAVED) from None
    if not isinstance(data, dict):
        raise WeightsError(f"expected a mapping in {INDEX} of {place.name}, found something else", _SAVED)
    name = data.get("_class_name")
    if isinstance(name, list):
        raise WeightsError(
            f"expected a pipeline of diffusers in {place.name}, found one with code of its own: "
            f"{str(name)[:60]}",
            "navicache runs no code from a folder or the hub; load it yourself and use `import navicache`",
        )
    if not isinstance(name, str):
        raise WeightsError(
            f"expected the name of a pipeline under _class_name in {INDEX} of {place.name}, "
            f"found {str(name)[:60]!r}",
            _SAVED,
        )
    parts, settings = {}, {}
    for key, value in data.items():
        if key.startswith("_"):
            continue
        if not isinstance(value, list):
            settings[key] = value
        elif value != [None, None]:
            parts[key] = _part(place, key, value)
    return Index(place, name, parts, settings)


def _part(place: Place, key: str, value: list[Any]) -> tuple[str, str]:
    if len(value) != 2 or not all(isinstance(one, str) for one in value) or Path(key).name != key:
        raise WeightsError(
            f"expected module and class of {key[:60]!r} in {INDEX} of {place.name}, found {str(value)[:60]}",
            _SAVED,
        )
    module, kind = value
    if module not in ("diffusers", "transformers", OWN) and not _is_of_diffusers(module):
        raise WeightsError(
            f"expected parts of diffusers and transformers in {place.name}, "
            f"found {key} of the module {module[:60]!r}",
            "navicache imports no other module; load the pipeline yourself and use `import navicache`",
        )
    return module, kind


def _is_of_diffusers(name: str) -> bool:
    """Whether it is the short name of a folder of diffusers' pipelines, such as `ltx2`."""
    from diffusers import pipelines

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return False
    found = getattr(pipelines, name, None)
    return isinstance(found, ModuleType) and found.__name__ == f"{pipelines.__name__}.{name}"


def pipeline_class(index: Index) -> type[Any]:
    """Return the class of a pipeline.

    Raises:
        WeightsError: this version of diffusers has no such pipeline.
    """
    import diffusers

    found = getattr(diffusers, index.pipeline, None) if index.pipeline.isidentifier() else None
    if isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline):
        return found
    raise WeightsError(
        f"expected a pipeline of diffusers {diffusers.__version__} in {index.place.name}, "
        f"found {index.pipeline[:60]!r}",
        "pip install --upgrade diffusers, if it is a new one",
    )


def check_parts(index: Index, folder: Path) -> None:
    """Look over the files of all parts before they are loaded, and import what ours are made of.

    Raises:
        WeightsError: a part is missing, is no regular file, would run code, or has its weights in a pickle.
    """
    for name, (module, kind) in index.parts.items():
        _check_part(index.place, folder / name, module, kind)
    if any(module == OWN for module, _ in index.parts.values()):
        import_module(OWN)  # where diffusers then finds the classes


def _check_part(place: Place, folder: Path, module: str, kind: str) -> None:
    if not folder.is_dir():
        hint = "check the network and run it again: not all was fetched" if place.hub else _SAVED
        raise WeightsError(f"expected a folder {folder.name} in {place.name}, found none", hint)
    files = list(islice(folder.iterdir(), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise WeightsError(
            f"expected at most {MOST_FILES} files in {folder.name} of {place.name}, found more", _SAVED
        )
    for path in files:
        _check_file(place, path)
    suffixes = {path.suffix for path in files}
    if ".safetensors" not in suffixes and suffixes & {*_PICKLES}:
        raise WeightsError(
            f"expected weights as safetensors in {folder.name} of {place.name}, "
            f"found pickles alone, which can run code",
            "pipe.save_pretrained(FOLDER) writes safetensors",
        )
    if module != "transformers":
        _read(place, folder / "config.json", read_config)
    elif _AUTO.match(kind) and any(_names_code(place, path) for path in files if path.suffix == ".json"):
        raise WeightsError(
            f"expected {folder.name} of {place.name} to be a class of transformers, "
            f"found {kind[:60]} with code of its own",
            "navicache runs no code from a folder or the hub; load it yourself and use `import navicache`",
        )


def _check_file(place: Place, path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(place, path, error.strerror or "unknown reason") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise _unreadable(place, path, "a regular file was expected")
    if path.suffix == ".json" and found.st_size > MOST_JSON:
        raise _unreadable(place, path, f"at most {MOST_JSON >> 20} MiB were expected, it is larger")


def _names_code(place: Place, path: Path) -> bool:
    data = _read(place, path, lambda one: read_json(one, MOST_JSON))
    return isinstance(data, dict) and "auto_map" in data


def _read(place: Place, path: Path, read: Any) -> Any:
    try:
        return read(path) if path.exists() else None
    except (OSError, ValueError) as error:
        raise _unreadable(place, path, getattr(error, "strerror", None) or str(error)) from None


def _unreadable(place: Place, path: Path, reason: str) -> WeightsError:
    return WeightsError(f"cannot use {path.parent.name}/{path.name} of {place.name}: {reason}", _SAVED)


def read_facts(place: Place, path: str) -> dict[str, Any]:
    """Read a small configuration of a pipeline; empty where there is none.

    Raises:
        WeightsError: it cannot be read, or is no mapping.
    """
    found = place.file(path)
    if found is None:
        return {}
    try:
        data = json.loads(read_utf8(found, MOST_INDEX))  # Schedulers have infinite numbers in theirs.
    except OSError as error:
        raise _unreadable(place, found, error.strerror or "unknown reason") from None
    except (ValueError, RecursionError):
        raise _unreadable(place, found, "it is not JSON") from None
    if not isinstance(data, dict):
        raise _unreadable(place, found, "it holds no mapping")
    return data
