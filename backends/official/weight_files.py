"""Checks and names files of weights without loading them.

A few MB of 20 GB are read: loading damaged or foreign weights takes minutes and fails late, or does not fail
and gives noise.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from navicache_cli.reading import expand_user, open_regular, parse_json, read_json

if TYPE_CHECKING:
    from backends.official.repositories import Checkout


_MOST_LAYERS, _MOST_SIZE = 1000, 1 << 24  # of a model's configuration
_MOST_HEADER = 100_000_000  # bytes of a safetensors file: the format's own limit


def managed_weights(name: str) -> Path:
    """Return where this program keeps the weights `name`, honouring XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_user(cache) / "navicache" / "weights" / name


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    try:
        data = read_json(path)
    except OSError as error:
        raise ValueError(error.strerror) from None
    if not isinstance(data, dict):
        raise ValueError("it holds no mapping")
    return data


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a model, whose numbers decide how much memory it takes.

    Raises:
        ValueError: it cannot be read, or a number in it is beyond those of any model; the message says why.
    """
    config = read_mapping(path)
    for key, value in config.items():
        most = _MOST_LAYERS if "layers" in key or "depth" in key else _MOST_SIZE
        if type(value) is int and abs(value) > most:
            raise ValueError(f"{key[:40]} {str(value)[:40]} is beyond {most}, which no model has")
    return config


def shard_names(index: Path) -> list[str]:
    """Return the names of the files an index tells of, which lie beside it.

    Raises:
        ValueError: it cannot be read, or names anything else; the message says why.
    """
    names = read_mapping(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError("it lists no files")
    for name in names.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"it names {str(name)[:60]!r}, which is no file beside it")
    return sorted(set(names.values()))


def file_fault(path: Path) -> str:
    """Say what is wrong with a file of weights, or with a folder of small files; "" when nothing is seen."""
    try:
        if path.is_dir():
            return "" if any(path.iterdir()) else "is empty"
        with open_regular(path) as file:
            return _fault_inside(path, file)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _fault_inside(path: Path, file: BinaryIO) -> str:
    size = os.fstat(file.fileno()).st_size
    if not size:
        return "is empty"
    try:
        if path.name.endswith(".index.json"):
            shard_names(path)
        elif path.name == "config.json":
            read_config(path)
    except ValueError as error:
        return f"cannot be used: {error}"
    if path.suffix == ".safetensors":
        return "" if _safetensors_size(file, size) == size else "is cut short or damaged"
    if path.suffix in (".pt", ".pth", ".bin"):
        return "" if _is_whole_pth(file) else "is cut short or damaged"
    return ""


def file_faults(folder: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Say what is wrong with files of weights: fault by name in `folder`; empty when nothing is seen."""
    return {path.relative_to(folder): fault for path in files if (fault := file_fault(path))}


def incomplete(what: str, faults: Mapping[Path, str]) -> str:
    """Return the message about faults in `what`; of many files the first three are named."""
    told = [f"{name} {fault}" for name, fault in faults.items()]
    more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
    return f"{what} are incomplete: {'; '.join(told[:3])}{more}"


def usual_places(name: str, checkout: Checkout | None, managed: str = "") -> list[Path]:
    """Return where weights are looked for that the user named no folder for, the managed place last.

    Args:
        name: of their folder, in the official code and in the current directory.
        checkout: the official code, if there is any.
        managed: of their managed folder, where that is not `name`.
    """
    beside = [checkout.path / name] if checkout else []
    return [*beside, Path.cwd() / name, managed_weights(managed or name)]


def digest_files(folder: Path, files: Iterable[Path], first: bytes = b"") -> str:
    """Name the content of weights without reading all of it.

    The digest is over `first`, the names and sizes of the files, and from each: the header of a safetensors
    file, the members' names, sizes and CRC-32 of a PyTorch file, and of both 64 samples of 4 KiB at even
    distances.

    Args:
        folder: what the files' names are relative to.
        files: the files in a fixed order; folders among them are passed over.
        first: content to start with.

    Returns:
        `sha256-sampled:…`, so that nobody takes it for a digest over all bytes.
    """
    digest = hashlib.sha256(first)
    for path in files:
        if path.is_dir():
            continue
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{path.relative_to(folder)} {size}\n".encode())
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


def _is_whole_pth(file: BinaryIO) -> bool:
    """Whether a PyTorch file has its end, where a zip archive has its list; old ones, bare pickles, pass."""
    if file.read(1) == b"\x80":
        return True
    try:
        with zipfile.ZipFile(file):
            return True
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error):
        return False


def _safetensors_size(file: BinaryIO, size: int) -> int:
    """Bytes a safetensors file has according to its header; -1 if it has none.

    Source: the format's description, huggingface/safetensors README.md: 8 bytes of header length, the header
    as JSON, then the data that each entry's `data_offsets` point into.
    """
    try:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size, _MOST_HEADER):
            return -1
        header = parse_json(file.read(length).decode())
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return 8 + int(length) + int(max(ends, default=0))
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError):
        return -1
