"""Finished cells on disk: what `generate` would have written, and beside it how the cell compares.

In `cells/`, by the cell's key: the video (.mp4), its report (.json), and last, as the sign that it is
finished, the cell (.cell.json). A baseline also keeps its frames (.npz), so that settings can be added later
and still be compared before any encoding.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from ..files import probe_folder, write_atomically
from ..report import read_report
from .jobs import CELL_VERSION, Job

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Fidelity:
    """How close a video is to the baseline's, frame by frame; `lpips` is None where it was not measured."""

    psnr: list[float]
    ssim: list[float]
    lpips: list[float] | None


@dataclass(frozen=True)
class Cell:
    """A finished cell.

    Attributes:
        key: of its job.
        sitting: which call of the program ran it; times of one sitting were taken in turns.
        fidelity: None for a baseline.
        report: the document of its generation.
    """

    key: str
    sitting: str
    fidelity: Fidelity | None
    report: dict[str, Any]


class Store:
    """The cells of one folder.

    Args:
        folder: of the comparison; made if it is not there.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cells"
        try:
            probe_folder(self.folder)
        except OSError as error:
            raise OutputError(
                f"cannot write to {self.folder}: {error.strerror}", "choose a folder with --output-dir"
            ) from None

    def video(self, key: str) -> Path:
        """Where a cell's video is."""
        return self.folder / f"{key}.mp4"

    def report(self, key: str) -> Path:
        """Where a cell's report is."""
        return self.folder / f"{key}.json"

    def find(self, job: Job) -> Cell | None:
        """Return a finished cell, or None: not run, or damaged and to be run again."""
        files = [self.video(job.key), *([] if job.baseline else [self._frames(job.key)])]
        if not all(file.is_file() for file in files):
            return None
        try:
            facts = json.loads(self._cell(job.key).read_text("utf-8"))
            if facts["version"] != CELL_VERSION or (facts["fidelity"] is None) != (not job.baseline):
                return None
            fidelity = None if facts["fidelity"] is None else Fidelity(**facts["fidelity"])
            return Cell(job.key, str(facts["sitting"]), fidelity, read_report(self.report(job.key)))
        except (OSError, ValueError, KeyError, TypeError, OutputError):
            return None

    def finish(self, cell: Cell) -> None:
        """Mark a cell as finished; its video, report and frames are there already.

        Raises:
            OutputError: it cannot be written.
        """
        fidelity = None if cell.fidelity is None else asdict(cell.fidelity)
        facts = {"version": CELL_VERSION, "key": cell.key, "sitting": cell.sitting, "fidelity": fidelity}
        write_atomically(self._cell(cell.key), json.dumps(facts, indent=1, allow_nan=False) + "\n")

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
            OutputError: the file is damaged.
        """
        import zipfile

        import numpy as np

        path = self._frames(key)
        try:
            with np.load(path, allow_pickle=False) as archive:
                frames: np.ndarray = archive["frames"]
            return frames
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"expected a baseline's frames; cannot read {path}: {' '.join(str(error).split())[:120]}",
                "delete that file and run the same command again",
            ) from None

    def _cell(self, key: str) -> Path:
        return self.folder / f"{key}.cell.json"

    def _frames(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
