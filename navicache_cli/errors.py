"""One error hierarchy; the command line turns each class into its exit code.

Every message says what was expected and what was found; `hint` says what to type next.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path


class NavicacheError(Exception):
    """Base of all errors a user can cause or fix.

    Args:
        message: one line: what was expected, what was found.
        hint: one line: what to type or change next; never empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        # Both: of these an error that another process raised is made again.
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(NavicacheError):
    """An option, a config key or a prompt is wrong. Nothing was started."""

    exit_code = 2


class BackendError(NavicacheError):
    """A model family, its official repository or a package it needs is not there."""

    exit_code = 3


class WeightsError(NavicacheError):
    """Weights are missing, incomplete, or belong to another model."""

    exit_code = 4


class SiteError(NavicacheError):
    """The cache cannot be attached to this module, or is attached already."""

    exit_code = 5


class OutputError(NavicacheError):
    """A result cannot be written or read: path, permission, disk space, or format."""

    exit_code = 6


class OutOfMemoryError(NavicacheError):
    """The device, or the machine, ran out of memory."""

    exit_code = 7


class BatchError(NavicacheError):
    """Some videos of a batch could not be made; the others were."""

    exit_code = 8


class ReaderGoneError(NavicacheError):
    """Who was to read standard output went away, as `head` does once it has enough; that is no fault."""

    exit_code = 141  # what a shell shows for a program that SIGPIPE ended

    def __init__(self) -> None:
        super().__init__("the reader of standard output went away", "run it again into a file: > FILE")


class InterruptedRunError(NavicacheError):
    """The user stopped the run (Ctrl-C)."""

    exit_code = 130


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return what an error of another library says, in one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITABLE = "choose a folder you may write to"


def cannot_write(path: Path, error: OSError | ValueError, hint: str = _WRITABLE) -> OutputError:
    """Return the error for a file or folder that the system does not let us write."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        reason, hint = "the disk is full, or a quota or size limit was reached", "free some space, or " + hint
    else:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return OutputError(f"cannot write {path}: {reason}", hint)


class InternalError(NavicacheError):
    """A fault of navicache itself: something it did not expect."""

    exit_code = 1


# How torch and the system's loader say that memory ran out.
_OUT_OF_MEMORY = re.compile(
    "allocate memory|not enough memory|out of memory|failed to map segment|start new thread", re.IGNORECASE
)


def known_error(error: Exception) -> NavicacheError:
    """Return the documented error for an exception that no code expected."""
    told = one_line(error, 160)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(told):
        return OutOfMemoryError(
            f"there was not enough memory: {told}",
            "choose a smaller --size or fewer --frames, close other programs, or raise the limit (ulimit -v)",
        )
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return OutputError(
            f"the system refused: {error.strerror or told}{place}",
            "check the path, its permissions and the disk",
        )
    return InternalError(
        f"internal error: {type(error).__name__}: {told}",
        "report it with what `navicache --debug …` and `navicache doctor --json` print",
    )
