"""Reading files that anybody may have named: regular ones alone, of a bounded size.

A named pipe would block for ever, a device never ends, and a file of a few bytes may be a link to either.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

from navicache_cli.errors import UsageError

MOST_TEXT = 64 << 20  # bytes; a file of a hundred thousand prompts has a quarter of that
MOST_NAME, MOST_PATH = 255, 4095  # bytes, on the systems in use
MOST_LEVELS = 64  # of lists and mappings in one another; documents of this program have eight

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def expand_user(path: str | Path) -> Path:
    """Replace a leading `~` or `~user` of a path that anybody may have typed.

    Raises:
        UsageError: there is no such user, or nothing can have this name; looking it up would be an error.
    """
    try:
        found = Path(path).expanduser()
    except RuntimeError:
        user = str(path).split("/")[0]
        raise UsageError(
            f"expected a user of this machine in {str(path)[:80]!r}, found none named {user[1:][:40]!r}",
            f"./{str(path)[:80]} for a file or folder of that name",
        ) from None
    longest = max(map(_bytes, found.parts), default=0)
    if longest > MOST_NAME or _bytes(str(found)) > MOST_PATH:
        raise UsageError(
            f"expected a path of at most {MOST_PATH} bytes, {MOST_NAME} for each name in it, "
            f"found {_bytes(str(found))} and {longest} in {str(path)[:40]!r}…",
            "choose a shorter name",
        )
    return found


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read bytes from; never waits and never starts on anything else.

    Raises:
        OSError: it is missing, cannot be opened, or is no regular file; `strerror` says which.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits until somebody writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "no file")
            raise OSError(errno.EINVAL, f"a regular file was expected, it is {kind}", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise _too_large(most, str(path))
    return data


def read_utf8(path: Path, most: int = MOST_TEXT) -> str:
    """Read a regular file as UTF-8 text, with or without a byte order mark.

    Raises:
        OSError: as `read_bytes`, or it is not UTF-8.
    """
    return _text(read_bytes(path, most), str(path))


def read_stdin(most: int = MOST_TEXT) -> str:
    """Read standard input as `read_utf8` reads a file, whatever it is connected to.

    Raises:
        OSError: it is closed, larger, or not UTF-8.
    """
    if sys.stdin is None:  # closed before the program started
        raise OSError(errno.EBADF, "standard input is closed", "-")
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise _too_large(most, "-")
    return _text(data, "-")


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "UTF-8 text was expected, it is something else", path) from None


def _too_large(most: int, path: str) -> OSError:
    size = f"{most >> 20} MiB" if most >> 20 else f"{most} bytes"
    return OSError(errno.EFBIG, f"at most {size} were expected, it is larger", path)


def read_json(path: Path, most: int = MOST_TEXT) -> Any:
    """Read a file of JSON; see `parse_json`.

    Raises:
        OSError: as `read_utf8`, or it is no such JSON; `strerror` says which.
    """
    try:
        return parse_json(read_utf8(path, most))
    except ValueError as error:
        raise OSError(errno.EILSEQ, str(error), str(path)) from None


def parse_json(text: str) -> Any:
    """Parse JSON in which every number is finite as a float, no key is there twice, and depth is bounded.

    Raises:
        ValueError: it is none; the message says in one line what was expected and what was found.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno} column {error.colno})" if "\n" in text else f" (column {error.colno})"
        raise ValueError(f"it is not JSON: {error.msg}{place}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    # Whatever walks the document later may recurse.
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(MOST_LEVELS):
        inside = [item.values() if isinstance(item, dict) else item for item in level]
        level = [child for items in inside for child in items if isinstance(child, dict | list)]
    if level:
        raise ValueError(_TOO_DEEP)
    return data


_TOO_DEEP = f"at most {MOST_LEVELS} lists and mappings in one another were expected, it has more"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # one of the values would be lost
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"each key was expected once, {twice[:60]!r} is there twice")
    return found


def _integer(digits: str) -> int:
    _number(digits)
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"finite numbers were expected, {text[:40]} is none")
    return number
