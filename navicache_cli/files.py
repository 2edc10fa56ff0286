"""Files: small ones in one move, whether a folder can be written, what a file is by its digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from .errors import OutputError
from .reading import open_regular


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file, in place of one of that name; a crash leaves the old one or the new one, whole.

    Raises:
        OutputError: it cannot be written; nothing is left of the attempt.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", "free some space or choose --output-dir"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def probe_folder(folder: Path) -> None:
    """Make a folder and find out whether it takes a file of one block, which a full disk does not.

    Raises:
        OSError: it does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))
        probe.flush()


def prepare_folder(folder: Path, mend: str) -> None:
    """Make a folder that results will go into.

    Raises:
        OutputError: it cannot be written; `mend` says what to do.
    """
    try:
        probe_folder(folder)
    except OSError as error:
        reason = error.strerror or "it is not a folder"
        raise OutputError(f"cannot write in {folder}: {reason}", mend) from None


def sha256_of(path: Path) -> str:
    """Return a file's digest in hex, or "" where there is no file that can be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
