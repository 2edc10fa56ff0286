"""Files written: hidden until they are complete, published together, and never left behind.

What is being written lies beside its place under a hidden name with a token of its own, the *part*, and is
locked for as long as the process that writes it lives, however that ends. A part that is not locked has no
owner any more: `sweep` removes it. Process numbers would not do: they come again, and in containers soon.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from navicache_cli.errors import DISK_FULL, OutputError, cannot_write
from navicache_cli.interruption import uninterrupted
from navicache_cli.locks import is_at, try_lock
from navicache_cli.reading import open_regular

# What this process has published, oldest first: what is said when it is stopped must be true.
published: list[Path] = []

MARK = b"navicache"  # stands near the start of every picture, page and document that is made again
_PART = re.compile(r"\..*\.navicache-[0-9a-f]{16}\.part(\.[a-z0-9]+)?", re.DOTALL)
_NAME_BYTES = 160  # of a name in that of its part; file systems limit names to 255


class TakenError(OutputError):
    """There is a file of that name already, and it is not to be replaced."""

    def __init__(self, path: Path, hint: str = "--overwrite, or another --output") -> None:
        super().__init__(f"expected a new file; {path} exists already", hint)


def check_new(path: Path, overwrite: bool, inputs: Collection[Path] = ()) -> None:
    """Find out, before any work, whether `path` can be published.

    Makes its folder, removes what runs that were killed left there, and writes and removes a small nameless
    file: the only honest test on network disks and for root.

    Args:
        path: of a file to come.
        overwrite: whether it may replace a file.
        inputs: files the same run reads, which are never replaced.

    Raises:
        TakenError: there is a file of that name and not `overwrite`.
        OutputError: a folder, one of `inputs`, a name too long, no permission, disk full.
    """
    try:
        with suppress(FileNotFoundError):
            path.lstat()
            if path.is_dir():
                raise OutputError(f"expected a file name; {path} is a folder", f"{path / path.name}")
            if any(one.exists() and path.exists() and path.samefile(one) for one in inputs):
                raise OutputError(
                    f"expected a new file; {path} is read by this run itself", "choose another --output"
                )
            if not overwrite:
                raise TakenError(path)
        probe_folder(path.parent)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, "choose a folder you may write to with --output") from error


def check_replaceable(path: Path) -> None:
    """Check, before any work, that a picture, page or document that is made again would replace one of ours.

    Args:
        path: of a file to come, in a folder that may not be there yet.

    Raises:
        TakenError: there is a file of that name without the word navicache in its first 64 KiB.
        OutputError: it is a folder, or cannot be read.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            if path.is_dir():
                raise OutputError(f"expected a file name; {path} is a folder", "rename or remove it")
            with open_regular(path) as file:
                ours = MARK in file.read(1 << 16)
            if not ours:
                raise TakenError(path, f"rename or remove {path.name}: it was not written by navicache")
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """Make the hidden file in which `path` comes to be; at the end it is gone, published or not.

    Raises:
        OSError: the folder cannot be written.
    """
    with ExitStack() as stack:
        with uninterrupted():
            part, handle = _new_part(path)
            stack.callback(os.close, handle)
            stack.callback(_remove, part)
        yield part


def publish(parts: Sequence[tuple[Path, Path]], overwrite: bool) -> None:
    """Give finished parts their names, all of them or none.

    Args:
        parts: each a part, complete and synced, and the path it becomes.
        overwrite: whether they may replace files; those are back if a later one cannot be published.

    Raises:
        TakenError: there is a file of one of the names and not `overwrite`; nothing was published.
        OSError: a name cannot be given; nothing was published.
    """
    with uninterrupted(), ExitStack() as done, ExitStack() as undo:
        for part, path in parts:
            old = _kept(path, done) if overwrite else None
            _give_name(part, path, overwrite)
            undo.callback(_take_back, path, old)
        undo.pop_all()
        published.extend(path for _, path in parts)
        for folder in {path.parent for _, path in parts}:
            with suppress(OSError):  # Folders cannot be synced everywhere, and the files are safe.
                sync(folder)


def write_atomically(path: Path, data: str | bytes, overwrite: bool = True) -> None:
    """Write a file; a crash leaves what was there or the new one, whole.

    Raises:
        TakenError: there is a file of that name and not `overwrite`.
        OutputError: it cannot be written; nothing is left of the attempt.
    """
    write_together({path: data}, overwrite)


def write_together(files: Mapping[Path, str | bytes], overwrite: bool = True) -> None:
    """Write files that belong together, all of them or none.

    Raises:
        TakenError: there is a file of one of the names and not `overwrite`.
        OutputError: one cannot be written; nothing is left of the attempt.
    """
    path = Path()
    try:
        with ExitStack() as stack:
            parts = []
            for path, data in files.items():
                part = stack.enter_context(part_of(path))
                write_part(part, data)
                parts.append((part, path))
            publish(parts, overwrite)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from None


def write_part(part: Path, data: str | bytes) -> None:
    """Fill a part and put it on the disk.

    Raises:
        OSError: the disk is full or went away.
    """
    with part.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Put a file or a folder's list of names on the disk.

    Raises:
        OSError: it cannot be.
    """
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the parts in a folder whose owner is gone."""
    with suppress(OSError), os.scandir(folder) as entries:
        for part in [Path(entry.path) for entry in entries if _PART.fullmatch(entry.name)]:
            with suppress(OSError):
                handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if stat.S_ISREG(os.fstat(handle).st_mode) and try_lock(handle):
                        part.unlink()
                finally:
                    os.close(handle)


def probe_folder(folder: Path) -> None:
    """Make a folder, sweep it, and find out whether it takes a file of one block, as a full disk does not.

    Raises:
        OSError: it does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))
        probe.flush()


def prepare_folder(folder: Path, hint: str) -> None:
    """Make a folder that results will go into.

    Raises:
        OutputError: it cannot be written; `hint` says what to do.
    """
    try:
        probe_folder(folder)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "it is not a folder"
        raise OutputError(f"cannot write in {folder}: {reason}", hint) from None


def sha256_of(path: Path) -> str:
    """Return a file's digest in hex, or "" where there is no regular file that can be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _new_part(path: Path) -> tuple[Path, int]:
    """Create a part and lock it; a sweep may take it in between, then another one is made."""
    while True:
        part = _hidden(path)
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if try_lock(handle) is not False and is_at(handle, part):
            return part, handle
        os.close(handle)


def _hidden(path: Path) -> Path:
    """Name a part; it keeps the suffix, by which encoders tell the format."""
    name = os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])
    suffix = path.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,8}", path.suffix.lower()) else ""
    return path.with_name(f".{name}.navicache-{secrets.token_hex(8)}.part{suffix}")


def _give_name(part: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, path)
        return
    try:
        os.link(part, path)  # Unlike a rename, it fails if the name was taken in the meantime.
    except OSError as error:
        if os.path.lexists(path):
            raise TakenError(path) from None
        if error.errno in (*DISK_FULL, errno.ENAMETOOLONG, errno.ENOENT, errno.EROFS):
            raise
        os.replace(part, path)  # A disk without hard links: FAT, some network shares.


def _kept(path: Path, done: ExitStack) -> Path | None:
    """Keep the file that is about to be replaced under a second name until all is done."""
    if not os.path.lexists(path):
        return None
    old = _hidden(path)
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # A disk without hard links.
        shutil.copy2(path, old, follow_symlinks=False)
    done.callback(_remove, old)
    return old


def _take_back(path: Path, old: Path | None) -> None:
    with suppress(OSError):
        if old is None:
            path.unlink()
        else:
            os.replace(old, path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
