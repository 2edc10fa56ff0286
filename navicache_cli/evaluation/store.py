"""What was measured before: read again, and kept only where it is of the same files.

A dimension's score is a file of its own. Pairs are lines of one file that is only added to; a line that was
cut off, or cannot be read, counts for nothing and its pair is measured again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..documents import write_document
from ..errors import OutputError
from ..pairs import METRICS, Fidelity, Series, plain
from .package import Verdict
from .prompts import Entry

RECORD_VERSION = 1
_HOW_MEASURED = "every decoded frame once"  # another text when figures of the same files become others
MEND_FOLDER = "choose another folder, or free some space"


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
        record = json.loads(path.read_text("utf-8"))
        if record["key"] != key:
            return None
        verdict = Verdict(
            float(record["score"]),
            {str(name): float(value) for name, value in record["videos"].items()},
            float(record["seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return verdict if all(map(math.isfinite, [verdict.score, *verdict.videos.values()])) else None


def keep_verdict(path: Path, key: str, dimension: str, verdict: Verdict) -> None:
    """Write a dimension's score.

    Raises:
        OutputError: it cannot be written.
    """
    write_document({"version": RECORD_VERSION, "key": key, "dimension": dimension, **vars(verdict)}, path)


def pair_key(digests: Sequence[str]) -> str:
    """Digest what the figures of a pair depend on, but for whether LPIPS was asked for."""
    return _digest([_HOW_MEASURED, list(digests)])


class PairLog:
    """The pairs measured so far, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            OutputError: the file cannot be read.
        """
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        try:
            text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror}", "check its permissions") from None
        # What a killed run cut off is closed here, so that the next line starts one.
        self._before = "" if not text or text.endswith("\n") else "\n"
        for line in text.split("\n"):
            try:
                record = json.loads(line)
                self._known[record["key"]] = record["metrics"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue

    def find(self, key: str, with_lpips: bool) -> Fidelity | None:
        """Return the figures of a pair, or None: not measured, or not with LPIPS."""
        try:
            found = self._known[key]
            fidelity = {name: _series(found[name]) for name in METRICS}
        except (KeyError, TypeError, ValueError):
            return None
        if fidelity["psnr"] is None or fidelity["ssim"] is None:
            return None
        if not with_lpips:
            return {**fidelity, "lpips": None}
        return fidelity if fidelity["lpips"] is not None else None

    def add(self, name: str, key: str, fidelity: Fidelity) -> None:
        """Add a pair; when this returns it is on the disk.

        Raises:
            OutputError: it cannot be written.
        """
        record = {"version": RECORD_VERSION, "name": name, "key": key, "metrics": plain(fidelity)}
        try:
            with self._path.open("ab") as file:
                file.write(f"{self._before}{json.dumps(record, allow_nan=False)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}", "free some space; what is measured is kept"
            ) from None
        self._before = ""


def _series(found: Any) -> Series | None:
    if found is None:
        return None
    series = Series(float(found["mean"]), [float(value) for value in found["per_frame"]])
    if not series.per_frame or not all(map(math.isfinite, [series.mean, *series.per_frame])):
        raise ValueError("not a number")
    return series


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
