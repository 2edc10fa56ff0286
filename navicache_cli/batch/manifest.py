"""The manifest of a batch: what happened to each video, a JSON object a line, each written whole and synced.

A run appends to a file of its own shard, under a lock that ends with the process however it ends, and reads
those of all shards: any split of the work can go on where any other stopped.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: two runs of one shard at a time are not kept apart there.
    fcntl = None  # type: ignore[assignment]

VERSION = 1
STARTED, DONE, FAILED = "started", "done", "failed"
Record = dict[str, Any]
"""A line. All have `version`, `name` (of the video, below the folder of videos), `state`, `at` (seconds since
1970), `settings` (a digest of the plan), `attempt` and `pid`. `done` has `video` (SHA-256), `report` (path in
the batch's folder), `steps`, `skipped` and `seconds`; `failed` has `error`, `exit_code`, and `traceback` if
the error is none of navicache's own.
"""


def read_manifests(folder: Path) -> dict[str, Record]:
    """Return the latest record of each video, of all shards.

    A last line that was cut off is no record: its video is not finished.

    Raises:
        OutputError: a manifest cannot be read, or another line of it is damaged.
    """
    latest: dict[str, Record] = {}
    for path in sorted(folder.glob("manifest*.jsonl")):
        for record in _read(path):
            known = latest.get(record["name"])
            if known is None or known["at"] <= record["at"]:
                latest[record["name"]] = record
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
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            _sync_folder(folder)
        except OSError as error:
            raise _cannot_write(self.path, error) from None
        try:
            _lock(self._file, self.path)
            _check_other_splits(folder, parts)
            self.records = read_manifests(folder)
            self._drop_cut_off_line()
        except OSError as error:
            os.close(self._file)
            raise _cannot_write(self.path, error) from None
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def append(self, name: str, state: str, **facts: Any) -> None:
        """Write a record; when this returns it is on the disk.

        Raises:
            OutputError: the disk is full or went away.
        """
        record = {
            "version": VERSION,
            "name": name,
            "state": state,
            "at": time.time(),
            "pid": os.getpid(),
            **facts,
        }
        line = json.dumps(record).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            raise _cannot_write(self.path, error) from None
        if written < len(line):
            raise OutputError(f"cannot write {self.path}: the disk is full", _MEND)
        self.records[name] = record

    def _drop_cut_off_line(self) -> None:
        """Remove what an interrupted write left at the end, so that the next line starts one."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 1))
            if file.read() in (b"", b"\n"):
                return
        os.ftruncate(self._file, self.path.read_bytes().rfind(b"\n") + 1)


def _read(path: Path) -> list[Record]:
    """Return the last record of each video in a file; those that it supersedes are not even parsed."""
    last: dict[bytes, bytes] = {}
    try:
        with path.open("rb") as file:
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
    if not isinstance(records, list) or len(records) != len(last) or not all(map(_fits, records)):
        lines = path.read_bytes().decode(errors="replace").split("\n")[:-1]
        damaged = next((n for n, line in enumerate(lines, 1) if not _fits(_parse(line))), len(lines))
        raise OutputError(
            f"{path} line {damaged} is not a record of version {VERSION}",
            "delete the line if it is damaged: its video is kept if its report is there",
        )
    return records


def _parse(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fits(record: Any) -> bool:
    """Whether a line has what is used of it, each of its kind; a file may have been edited."""
    return (
        type(record) is dict
        and record.get("version") == VERSION
        and type(record.get("name")) is str
        and type(record.get("state")) is str
        and type(record.get("at")) in (int, float)
        and type(record.get("settings")) is str
        and type(record.get("pid")) is int
        and (
            record["state"] != DONE
            or (
                type(record.get("video")) is str
                and type(record.get("steps")) is int
                and type(record.get("skipped")) is int
            )
        )
    )


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on the disk; its lines are synced when they are written."""
    with suppress(OSError):  # Folders cannot be synced everywhere.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(file: int, path: Path) -> None:
    """Lock an open manifest until its process ends.

    Raises:
        OutputError: another process has it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"another run works on this batch: {path} is locked",
            "wait for it, or give each run a part of its own: --shard 1/2 and --shard 2/2",
        ) from None
    except OSError:  # A network disk without locks.
        return


def _check_other_splits(folder: Path, parts: int) -> None:
    """Check that nobody works on the batch in another number of shards, which share videos with ours."""
    for path in folder.glob("manifest*.jsonl"):
        same = path.stem.endswith(f"-of-{parts}") if parts > 1 else path.stem == "manifest"
        if not same:
            with path.open("rb") as file:
                _lock(file.fileno(), path)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror}", _MEND)


_MEND = "free some space, or choose another --output-dir; what is finished is kept"
