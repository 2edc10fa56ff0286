"""Finished cells on disk: what `generate` would have written, and beside it how the cell compares.

In `cells/`, by the cell's key: the video (.mp4), its report (.json), and last, as the sign that it is
finished, the cell (.cell.json), which has the digests of the others and of itself. A baseline also keeps its
frames (.npz), so that settings can be added later and still be compared before any encoding.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.compare.jobs import Job
from navicache_cli.errors import OutputError, one_line
from navicache_cli.files import prepare_folder, sha256_of, write_atomically
from navicache_cli.locks import FolderLock
from navicache_cli.media.fidelity import Fidelity, Series
from navicache_cli.media.metrics import METRICS
from navicache_cli.reading import read_bytes
from navicache_cli.report.records import Record, read_record, record_text
from navicache_cli.report.report import Report, read_report

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Cell:
    """A finished cell.

    Attributes:
        key: of its job.
        sitting: which call of the program ran it; times of one sitting were taken in turns.
        fidelity: to the baseline's video; None for a baseline.
        report: of its generation.
    """

    key: str
    sitting: str
    fidelity: Fidelity | None
    report: Report


class CellRecord(Record, frozen=True):
    """What is kept of a cell beside its video and report.

    Attributes:
        key, sitting: see `Cell`.
        fidelity: the figure of each frame, by metric; None for a baseline.
        files: SHA-256 of the cell's files, by their names.
    """

    key: str
    sitting: str
    fidelity: dict[str, list[float] | None] | None
    files: dict[str, str]


class Store:
    """The cells of one folder, which no other run works in meanwhile.

    Args:
        folder: of the comparison; made if it is not there.

    Raises:
        OutputError: nothing can be written there, or another run works there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cells"
        for one in (folder, self.folder):
            prepare_folder(one, "choose another folder with --output-dir")
        self._lock = FolderLock(self.folder, "comparison")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def check(self) -> None:
        """Notice that the folder was removed or replaced.

        Raises:
            OutputError: it was.
        """
        self._lock.check()

    def video(self, key: str) -> Path:
        return self.folder / f"{key}.mp4"

    def report(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def find(self, job: Job) -> Cell | None:
        """Return a finished cell, or None: not run, or one of its files is not as it was written."""
        try:
            record = read_record(read_bytes(self._cell(job.key)), CellRecord)
            if record is None or record.key != job.key or not self._as_written(record.files):
                return None
            report = read_report(self.report(job.key))
        except (OSError, OutputError):
            return None
        return Cell(job.key, record.sitting, _with_means(record.fidelity), report)

    def _as_written(self, digests: dict[str, str]) -> bool:
        return all(digest and sha256_of(self.folder / name) == digest for name, digest in digests.items())

    def finish(self, cell: Cell) -> None:
        """Mark a cell as finished; its video, report and frames are there already.

        Raises:
            OutputError: it cannot be written.
        """
        files = [self.report(cell.key), *([self._frames(cell.key)] if cell.fidelity is None else [])]
        digests = {
            self.video(cell.key).name: cell.report.output.sha256,
            **{file.name: sha256_of(file) for file in files},
        }
        record = CellRecord(cell.key, cell.sitting, _per_frame(cell.fidelity), digests)
        write_atomically(self._cell(cell.key), record_text(record) + "\n")

    def count(self) -> int:
        """Return how many cells are marked as finished."""
        return sum(1 for _ in self.folder.glob("*.cell.json"))

    def keep_frames(self, key: str, frames: np.ndarray) -> None:
        """Keep a baseline's frames [F, H, W, 3] uint8.

        Raises:
            OutputError: they cannot be written.
        """
        import numpy as np

        buffer = io.BytesIO()
        np.savez_compressed(buffer, frames=frames)
        write_atomically(self._frames(key), buffer.getvalue())

    def frames(self, key: str) -> np.ndarray:
        """Read a baseline's frames [F, H, W, 3] uint8.

        Raises:
            OutputError: the file was damaged or removed since the cell was found.
        """
        import zipfile

        import numpy as np

        path = self._frames(key)
        try:
            with np.load(path, allow_pickle=False) as archive:
                frames: np.ndarray = archive["frames"]
            return frames
        except (OSError, ValueError, LookupError, zipfile.BadZipFile, zlib.error) as error:
            raise OutputError(
                f"expected a baseline's frames; cannot read {path}: {one_line(error, 120)}",
                "run the same command again; it makes that baseline again",
            ) from None

    def _cell(self, key: str) -> Path:
        return self.folder / f"{key}.cell.json"

    def _frames(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _per_frame(fidelity: Fidelity | None) -> dict[str, list[float] | None] | None:
    """Return what is kept of a cell's figures: each frame's."""
    if fidelity is None:
        return None
    return {key: None if one is None else one.per_frame for key, one in fidelity.items()}


def _with_means(kept: dict[str, list[float] | None] | None) -> Fidelity | None:
    """Return the figures of a cell from what is kept of them; a metric that it has not is left out."""
    if kept is None:
        return None
    return {key: Series.of(values) if (values := kept.get(key)) else None for key in METRICS}
