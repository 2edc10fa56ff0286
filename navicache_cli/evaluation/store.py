"""What was measured before: read again, and kept only where it is of the same files.

A dimension's score is a file of its own. Pairs are lines of one file that is only added to. Each is a record
(see `records`): one that was cut off or edited counts for nothing, and what it was of is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from navicache_cli.errors import OutputError, cannot_write
from navicache_cli.evaluation.package import Verdict
from navicache_cli.evaluation.prompts import Entry
from navicache_cli.files import check_replaceable, write_atomically
from navicache_cli.media.fidelity import Fidelity, Series, measures_with
from navicache_cli.media.metrics import METRICS
from navicache_cli.reading import read_bytes
from navicache_cli.report.records import Record, read_record, record_text
from navicache_cli.sources import digest_of, own_sources

RECORD_VERSION = 2
_MOST_LOG = 1 << 30  # bytes; a pair of 100 frames has 5,000
MEASURING = ("media",)
FOLDER_HINT = "choose another folder, or free some space"


class VerdictRecord(Record, frozen=True):
    """A dimension's score, and the digest of what it depends on; see `package.Verdict`."""

    key: str
    dimension: str
    score: float
    videos: dict[str, float]
    seconds: float


class PairRecord(Record, frozen=True):
    """The figures of a pair of videos, and the digest of what they depend on."""

    name: str
    key: str
    metrics: dict[str, Series | None]


def dimension_key(
    dimension: str, version: str, entries: Sequence[Entry], names: Sequence[str], digests: Mapping[str, str]
) -> str:
    """Digest what a dimension's score depends on.

    Args:
        dimension: its name.
        version: of the package vbench.
        entries: all prompts.
        names: the videos of this dimension.
        digests: SHA-256 of each video by its name.
    """
    prompts = [
        [entry["prompt_en"], entry.get("auxiliary_info")]
        for entry in entries
        if dimension in entry["dimension"]
    ]
    videos = {name: digests[name] for name in names}
    return _digest([RECORD_VERSION, dimension, version, prompts, videos])


def find_verdict(path: Path, key: str) -> Verdict | None:
    """Return a dimension's score, or None: not scored, or not of these videos."""
    try:
        record = read_record(read_bytes(path), VerdictRecord)
    except OSError:
        return None
    if record is None or record.key != key:
        return None
    return Verdict(record.score, record.videos, record.seconds)


def keep_verdict(path: Path, key: str, dimension: str, verdict: Verdict) -> None:
    """Write a dimension's score.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(path, record_text(VerdictRecord(key, dimension, **vars(verdict))) + "\n")


def pair_key(digests: Sequence[str]) -> str:
    """Digest what the figures of a pair depend on, but for which metrics were asked for."""
    return _digest([RECORD_VERSION, _measuring_code(), list(digests)])


@cache
def _measuring_code() -> str:
    return digest_of(own_sources(MEASURING))


class PairLog:
    """The pairs measured so far, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            OutputError: the file cannot be read, or is not ours.
        """
        self._path = path
        self._known: dict[str, Fidelity] = {}
        try:
            text = read_bytes(path, _MOST_LOG).decode(errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise OutputError(
                f"cannot read {path}: {error.strerror}", "remove it, or choose another --output-dir"
            ) from None
        if text:
            check_replaceable(path)
        # What a killed run cut off is closed here, so that the next line starts one.
        self._before = "" if not text or text.endswith("\n") else "\n"
        for line in text.split("\n"):
            record = read_record(line, PairRecord)
            if record is not None:
                self._known[record.key] = record.metrics

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str, models: Collection[str]) -> Fidelity | None:
        """Return the figures of a pair, or None: not measured, or not by all that these models can."""
        found, wanted = self._known.get(key, {}), measures_with(models)
        if any(found.get(name) is None for name in wanted):
            return None
        return {**dict.fromkeys(METRICS), **{name: found[name] for name in wanted}}

    def add(self, name: str, key: str, fidelity: Fidelity) -> None:
        """Add a pair; when this returns it is on the disk.

        Raises:
            OutputError: it cannot be written.
        """
        record = PairRecord(name, key, fidelity)
        try:
            with self._path.open("ab") as file:
                file.write(f"{self._before}{record_text(record)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(
                self._path, error, "run the same command again; what is measured is kept"
            ) from None
        self._before = ""
        self._known[key] = fidelity


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
