"""Whether a set of weights is complete, told from names, sizes and headers: nothing is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .weight_files import file_fault, shard_names

_INDEX = ".index.json"


def file_faults(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Say what is wrong with the weights in a folder; empty when they are complete.

    Args:
        folder: where they are.
        patterns: paths in it, with `*`, of which at least one file or folder each must be there. Shards
            that an index or the number in a shard's name (`…-00001-of-00006…`) tells of must be there too.

    Returns:
        Lines such as `model.safetensors is missing`.
    """
    paths: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(folder.glob(pattern)) or [folder / pattern]
        paths.update(dict.fromkeys(shard for path in found for shard in [path, *_shards(path)]))
    return [f"{path.relative_to(folder)} {told}" for path in paths if (told := file_fault(path))]


def config_faults(path: Path, expected: dict[str, Any]) -> list[str]:
    """Say where a config.json differs from what was expected; entries it does not have pass."""
    if not expected:
        return []
    try:
        found = json.loads(path.read_text("utf-8"))
        wrong = [key for key, value in expected.items() if found.get(key, value) != value]
    except (OSError, ValueError, AttributeError):
        return [f"{path.name} cannot be read"]
    return [f"{path.name} is of other weights: {key} {found[key]}, not {expected[key]}" for key in wrong]


def _shards(path: Path) -> list[Path]:
    """The files that belong to an index or to a shard."""
    if path.name.endswith(_INDEX) and path.is_file():
        try:
            return [path.with_name(name) for name in shard_names(path)]
        except ValueError:
            return []
    numbered = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})(\..+)", path.name)
    if not numbered:
        return []
    stem, count, ending = numbered.groups()
    return [path.with_name(f"{stem}-{number:05d}-of-{count}{ending}") for number in range(1, int(count) + 1)]
