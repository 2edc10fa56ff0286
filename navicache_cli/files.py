"""Small files in one move, so that no reader ever sees half of one."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import OutputError


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
