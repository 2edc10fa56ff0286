"""Finds a folder of official Wan2.1 weights, checks it before anything is loaded, and names its content.

Everything here reads file lists and headers, a few MB of 20 GB: loading damaged or foreign weights takes
minutes and fails late, or does not fail and gives noise.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

from backends.repositories import Checkout
from navicache_cli.errors import WeightsError

from .tasks import Task

TRANSFORMER = "diffusion_pytorch_model.safetensors"


def find_weights(given: str, name: str, checkout: Checkout) -> Path:
    """Return the folder of weights.

    Args:
        given: the value of `--weights`, or "" to look beside the official code, in the current directory, and
            in the managed place.
        name: the official name, such as `Wan2.1-T2V-1.3B`.
        checkout: the official code.

    Raises:
        WeightsError: it is not there.
    """
    if given:
        places = [Path(given).expanduser()]
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        places = [checkout.path / name, Path.cwd() / name, cache / "navicache" / "weights" / name]
    for place in places:
        if place.is_dir():
            return place
    raise WeightsError(
        f"expected the weights {name} at {' or '.join(map(str, places))}, found none",
        _download(name, places[0]),
    )


def check_weights(folder: Path, name: str, task: Task, config: Any) -> None:
    """Check that the weights are complete and belong to the task.

    Args:
        folder: where they are.
        name: their official name, for the message.
        task: what they are to do.
        config: the task's entry of the official WAN_CONFIGS, which names the files.

    Raises:
        WeightsError: naming the first file that is missing, cut short, or of another task.
    """
    found = _read_json(folder / "config.json", name)
    expected = {"model_type": task.model_type, "dim": config.dim, "num_layers": config.num_layers}
    other = {key: found.get(key, value) for key, value in expected.items()}
    if other != expected:
        raise WeightsError(
            f"expected weights of {name} ({_listed(expected)}) in {folder}, found {_listed(other)}",
            f"choose the task these weights are for, or {_download(name, folder.parent / name)}",
        )
    for path in weight_files(folder, name, config):
        if not path.exists():
            fault = "is missing"
        elif path.suffix == ".safetensors":
            fault = "" if _safetensors_size(path) == path.stat().st_size else "is cut short or damaged"
        elif path.suffix == ".pth":
            fault = "" if _is_whole_pth(path) else "is cut short or damaged"
        else:
            fault = "" if path.is_dir() and any(path.iterdir()) else "is empty"
        if fault:
            raise WeightsError(
                f"the weights {name} in {folder} are incomplete: {path.relative_to(folder)} {fault}",
                _download(name, folder),
            )


def weight_files(folder: Path, name: str, config: Any) -> list[Path]:
    """Return all files and tokenizer folders that the official code will read, there or not."""
    index = folder / f"{TRANSFORMER}.index.json"
    shards = [TRANSFORMER]
    if index.exists():
        shards = sorted(set(_read_json(index, name).get("weight_map", {}).values())) or shards
    kinds = ("t5_checkpoint", "t5_tokenizer", "vae_checkpoint", "clip_checkpoint", "clip_tokenizer")
    return [folder / part for part in [*shards, *(config[kind] for kind in kinds if kind in config)]]


def digest_weights(folder: Path, name: str, config: Any) -> str:
    """Name the content of the weights without reading all of it.

    The digest is over config.json, the names and sizes of the weight files, and from each: the header of a
    safetensors file, the members' names, sizes and CRC-32 of a PyTorch file, and of both 64 samples of 4 KiB
    at even distances.

    Returns:
        `sha256-sampled:…`, so that nobody takes it for a digest over all bytes.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder, name, config):
        if path.is_dir():
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                digest.update(file.read(struct.unpack("<Q", file.read(8))[0]))
            for sample in range(64):
                file.seek(size * sample // 64)
                digest.update(file.read(4096))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    digest.update(f"{member.filename} {member.file_size} {member.CRC:08x}\n".encode())
    return f"sha256-sampled:{digest.hexdigest()}"


def _is_whole_pth(path: Path) -> bool:
    """Whether a PyTorch file has its end, where a zip archive has its list; old ones, bare pickles, pass."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _safetensors_size(path: Path) -> int:
    """Bytes a safetensors file has according to its header; -1 if it has none.

    Source: the format's description, huggingface/safetensors README.md: 8 bytes of header length, the header
    as JSON, then the data that each entry's `data_offsets` point into.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                return -1
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return 8 + int(length) + int(max(ends, default=0))
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return -1


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise WeightsError(
            f"the weights {name} in {path.parent} are incomplete: cannot read {path.name}: {reason}",
            _download(name, path.parent),
        ) from None
    if not isinstance(data, dict):
        raise WeightsError(
            f"{path} holds no mapping, the weights' description was expected", _download(name, path.parent)
        )
    return data


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _download(name: str, folder: Path) -> str:
    return f"hf download Wan-AI/{name} --local-dir {folder}"
