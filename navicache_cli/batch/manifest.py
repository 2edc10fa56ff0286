"""The manifest of a batch: one JSON object per line, what happened to a video, each written whole and synced.

A run appends to a file of its own shard, under a lock that ends with the process however it ends, and reads
those of all shards: any split of the work can resume where any other stopped.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from navicache_cli.errors import OutputError, cannot_write
from navicache_cli.files import sync
from navicache_cli.locks import check_stays, open_locked, try_lock
from navicache_cli.reading import open_regular
from navicache_cli.report.documents import plain

VERSION = 2
STARTED, DONE, FAILED = "started", "done", "failed"
_FILE = re.compile(r"manifest(-\d+-of-(?P<parts>\d+))?\.jsonl")
_LINE = f'{{"version": {VERSION}, "name": "'.encode()  # what every line that `append` writes begins with
_MOST_RUNS = 2**53


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="state"):
    """What every line has. Those that a program other than navicache wrote may have only some of it.

    Attributes:
        name: of the video, below the folder of videos.
        run: one more than any there was when the run began: the order of records in different files.
        at: seconds since 1970, for people.
        pid: of the process that makes the video.
        settings: a digest of the plan.
        attempt: 1, or more where it failed before.
    """

    version: Literal[2]
    name: str
    run: Annotated[int, Meta(gt=0, lt=_MOST_RUNS)]
    at: float = 0.0
    pid: int = 0
    settings: str
    attempt: int = 1

    @property
    def state(self) -> str:
        return str(self.__struct_config__.tag)


class Started(_Line, frozen=True, kw_only=True, tag=STARTED):
    """A process went to work on a video."""


class Done(_Line, frozen=True, kw_only=True, tag=DONE):
    """A video is finished.

    Attributes:
        video: its SHA-256.
        steps, skipped: denoising steps, and how many of them were predicted.
        seconds: that it took.
        report: path in the batch's folder.
    """

    video: str
    steps: int
    skipped: int
    seconds: float = 0.0
    report: str = ""


class Failed(_Line, frozen=True, kw_only=True, tag=FAILED):
    """A video could not be made.

    Attributes:
        error: why.
        exit_code: that the error stands for.
        traceback: if the error is none of navicache's own.
    """

    error: str = ""
    exit_code: int = 1
    traceback: str | UnsetType = UNSET


Record = Started | Done | Failed


def read_manifests(folder: Path) -> dict[str, Record]:
    """Return the latest record of each video, of all shards.

    In a file a later line is later, among files the one of the later run: clocks may be set back. A last line
    that was cut off is no record: its video is not finished.

    Raises:
        OutputError: a manifest cannot be read, or another line of it is damaged.
    """
    latest: dict[str, Record] = {}
    for path, _ in _files(folder):
        for record in _read(path):
            known = latest.get(record.name)
            if known is None or known.run <= record.run:
                latest[record.name] = record
    return latest


class Manifest:
    """One shard's file, open to append to, and the latest records of all shards."""

    def __init__(self, folder: Path, shard: tuple[int, int]) -> None:
        """Lock and open the file, made if need be; see `read_manifests`.

        Raises:
            OutputError: the folder cannot be written, or another run works on these videos.
        """
        part, parts = shard
        self.path = folder / ("manifest.jsonl" if parts == 1 else f"manifest-{part}-of-{parts}.jsonl")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = open_locked(self.path, os.O_APPEND)
            with suppress(OSError):  # Folders cannot be synced everywhere.
                sync(folder)
        except OSError as error:
            raise cannot_write(self.path, error, _HINT) from None
        if file is None:
            raise _taken(self.path)
        self._file = file
        try:
            _check_other_splits(folder, parts)
            self.records = read_manifests(folder)
            self._run = 1 + max((record.run for record in self.records.values()), default=0)
            self._drop_cut_off_line()
        except OSError as error:
            os.close(self._file)
            raise cannot_write(self.path, error, _HINT) from None
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def append(self, kind: type[Record], name: str, **facts: Any) -> None:
        """Write a record; when this returns it is on the disk.

        Args:
            kind: which.
            name: of the video.
            facts: the other fields; this process and the time are known.

        Raises:
            OutputError: the disk is full or went away, or the manifest or its folder is not ours any more.
        """
        check_stays(self._file, self.path, "batch")
        always = {"version": VERSION, "name": name, "run": self._run, "at": time.time(), "pid": os.getpid()}
        record = kind(**{**always, **facts})
        line = _text(record)
        try:
            written = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            raise cannot_write(self.path, error, _HINT) from None
        if written < len(line):
            raise OutputError(f"cannot write {self.path}: the disk is full", _HINT)
        self.records[name] = record

    def _drop_cut_off_line(self) -> None:
        """Remove what an interrupted write left at the end, so that the next line starts one.

        Raises:
            OutputError: it is nothing that we began to write.
        """
        with open_regular(self.path) as file:
            text = file.read()
        whole = text.rfind(b"\n") + 1
        left = text[whole:].rstrip(b"\0")  # A crash of the machine can leave zeros.
        if left[: len(_LINE)] != _LINE[: len(left)]:
            raise _damaged(self.path, text.count(b"\n") + 1)
        if whole < len(text):
            os.ftruncate(self._file, whole)


def _files(folder: Path) -> list[tuple[Path, int]]:
    """Return the manifests of a folder, each with the number of shards it is one of."""
    found = [(path, _FILE.fullmatch(path.name)) for path in sorted(folder.glob("manifest*.jsonl"))]
    return [(path, int(match["parts"] or 1)) for path, match in found if match]


def _read(path: Path) -> list[Record]:
    """Return the last record of each video in a file; those that it supersedes are not even parsed."""
    last: dict[bytes, bytes] = {}
    try:
        with open_regular(path) as file:
            for line in file:
                # Without a line break it is the last one, cut off. A line that `append` wrote begins with the
                # name: what is before the state tells videos apart. Quotation marks in a name are escaped: it
                # cannot hold the words looked for. Lines written otherwise count as a whole.
                if line.endswith(b"\n"):
                    last[line[: line.find(b'", "state": "')]] = line
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}", "check its permissions") from None
    # All at once takes little more than half the time of line by line.
    records = _parse(b"[" + b",".join(last.values()) + b"]")
    if records is None or len(records) != len(last):
        lines = path.read_bytes().decode(errors="replace").split("\n")[:-1]
        damaged = next((n for n, line in enumerate(lines, 1) if _parse(f"[{line}]") is None), len(lines))
        raise _damaged(path, damaged)
    return records


def _parse(text: str | bytes) -> list[Record] | None:
    """Return the records of a JSON list, or None where it is none: a file may have been edited."""
    try:
        # Not by msgspec alone: a path in an error may hold bytes that are no text, which it does not take.
        return msgspec.convert(json.loads(text), list[Record])
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _text(record: Record) -> bytes:
    facts = {"version": record.version, "name": record.name, "state": record.state, **plain(record)}
    return json.dumps(facts).encode() + b"\n"


def _damaged(path: Path, line: int) -> OutputError:
    return OutputError(
        f"{path} line {line} is not a record of version {VERSION}",
        "delete the line, or the file if an older version wrote it: videos are known by their reports too",
    )


def _taken(path: Path) -> OutputError:
    return OutputError(
        f"another run works on this batch: {path} is locked",
        "wait for it, or give each run a part of its own: --shard 1/2 and --shard 2/2",
    )


def _check_other_splits(folder: Path, parts: int) -> None:
    """Check that nobody works on the batch in another number of shards, which share videos with ours."""
    for path, others in _files(folder):
        if others != parts:
            with open_regular(path) as file:
                if try_lock(file.fileno(), shared=True) is False:
                    raise _taken(path)


_HINT = "free some space, or choose another --output-dir; what is finished is kept"
