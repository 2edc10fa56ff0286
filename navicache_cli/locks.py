"""Locks that end with the process that holds them, however it ends: on open files, and so on folders."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from navicache_cli.errors import OutputError, cannot_write
from navicache_cli.interruption import uninterrupted

try:
    import fcntl
except ImportError:  # Windows: parts of killed runs stay, and folders are not locked there.
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Keeps a second run out of a folder of results, for as long as this process lives or until `release`.

    The lock is on a hidden file in the folder, which is removed with it.

    Args:
        folder: there already.
        work: what is done there, for the error, such as "comparison".
        hint: what to do while another run has it.

    Raises:
        OutputError: another run has it, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, work: str, hint: str = "wait for it, or choose another --output-dir"
    ) -> None:
        self._path, self._work = folder / ".navicache.lock", work
        try:
            with uninterrupted():
                self._handle = open_locked(self._path)
        except OSError as error:
            raise cannot_write(self._path, error, "choose another --output-dir") from None
        if self._handle is None:
            raise OutputError(f"another run works on this {work}: {self._path} is locked", hint)

    def check(self) -> None:
        """Notice that the folder, or the lock in it, was removed or replaced while we worked.

        Raises:
            OutputError: it was.
        """
        if self._handle is not None:
            check_stays(self._handle, self._path, self._work)

    def release(self) -> None:
        """Let other runs in."""
        if self._handle is not None:
            with uninterrupted():
                if is_at(self._handle, self._path):
                    with suppress(OSError):
                        self._path.unlink()
                os.close(self._handle)
                self._handle = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(handle: int, shared: bool = False) -> bool | None:
    """Lock an open file without waiting; False if another has it, None where the disk knows no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def open_locked(path: Path, flags: int = 0) -> int | None:
    """Open a file to read and write, made if need be, and lock it for as long as it is open.

    Returns:
        Its handle, or None if another has the lock.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | flags, 0o666)
        if try_lock(handle) is False:
            os.close(handle)
            return None
        if is_at(handle, path):
            return handle
        os.close(handle)  # The run before removed it as we opened it.


def check_stays(handle: int, path: Path, work: str) -> None:
    """Notice that a file we have open, or its folder, was removed or replaced, and our lock with it.

    Raises:
        OutputError: it was; `work` says what is done in the folder.
    """
    if not is_at(handle, path):
        raise OutputError(
            f"expected {path.parent} to stay as it was; the {work} in it was removed or replaced while this "
            "run worked",
            "run the same command again, and leave the folder until it ends",
        )
