"""A batch's folder: where videos and reports lie, what is finished there, and what a killed run left."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import NavicacheError, UsageError
from ..files import prepare_folder, sha256_of
from ..report import plan_values, read_report
from .items import Item, fingerprint
from .manifest import DONE, STARTED, Record

VIDEOS, REPORTS = "videos", "reports"


class Standing(Enum):
    """What is to be done about an item."""

    KEEP = "finished"  # the record, the file's digest and the report agree
    ADOPT = "finished, not yet recorded"  # killed between the report and the record
    REPLACE = "to be made again"  # its file is unfinished or was changed
    NEW = "to be made"  # there is no file


@dataclass(frozen=True)
class Folder:
    """The folder given as `--output-dir`.

    Videos and reports lie apart: VBench and others take every file of a folder for a video.
    """

    root: Path

    @property
    def videos(self) -> Path:
        """Folder of videos."""
        return self.root / VIDEOS

    def video(self, item: Item) -> Path:
        """Where an item's video goes."""
        return self.videos / item.name

    def report(self, item: Item) -> Path:
        """Where its report goes."""
        return self.root / REPORTS / report_name(item.name)

    def standing(self, item: Item, record: Record | None, overwrite: bool) -> Standing:
        """Find out whether an item is finished, by its record and by what is on the disk.

        Args:
            item: the video asked for.
            record: the latest of that name.
            overwrite: whether to replace videos of other settings or another origin.

        Raises:
            UsageError: there is a video of that name that was made otherwise.
        """
        video = self.video(item)
        if not _exists(video):
            return Standing.NEW
        if record is not None and record["state"] == DONE:
            if record.get("settings") != item.fingerprint():
                if not overwrite:
                    raise self._other_settings(item)
                return Standing.REPLACE
            fine = sha256_of(video) == record.get("video") and self.report(item).is_file()
            return Standing.KEEP if fine else Standing.REPLACE
        if self.finished_report(item) is not None:
            return Standing.ADOPT
        if record is None and not overwrite:
            raise UsageError(
                f"{item.where}: {video} is there, and no record says that it is of this batch",
                "choose another --output-dir, or --overwrite",
            )
        return Standing.REPLACE

    def finished_report(self, item: Item) -> dict[str, Any] | None:
        """Return the report of an item whose video is complete, or None."""
        try:
            report = read_report(self.report(item))
        except NavicacheError:
            return None
        same = fingerprint(plan_values(report)) == item.fingerprint()
        return report if same and report["output"]["sha256"] == sha256_of(self.video(item)) else None

    def prepare(self, items: Iterable[Item]) -> None:
        """Make the folders of these items and find out whether they can be written.

        Raises:
            OutputError: one cannot.
        """
        for folder in {path.parent for item in items for path in (self.video(item), self.report(item))}:
            prepare_folder(folder, "choose another --output-dir, or free some space")

    def clear(self, item: Item, record: Record | None) -> None:
        """Remove the hidden files of an item that a killed process left, by its last record."""
        if record is None or record["state"] != STARTED:
            return
        pid = record["pid"]
        for path, suffix in ((self.video(item), f".{pid}-*.part.mp4"), (self.report(item), f".{pid}.part")):
            for part in path.parent.glob(f".{glob.escape(path.name[:40])}*{suffix}"):
                part.unlink(missing_ok=True)

    def _other_settings(self, item: Item) -> UsageError:
        try:
            found = plan_values(read_report(self.report(item)))
        except NavicacheError:
            found = {}
        wanted = item.plan(self.videos).values()
        kept = [
            key for key in wanted if fingerprint({key: wanted[key]}) != fingerprint({key: found.get(key)})
        ]
        differing = (
            ", ".join(f"{key} {found.get(key)!r}, now {wanted[key]!r}" for key in kept[:4]) if found else ""
        )
        return UsageError(
            f"{item.where}: {self.video(item)} was made with other settings"
            f"{': ' + differing if differing else ''}",
            "choose another --output-dir, or --overwrite",
        )


def report_name(name: str) -> str:
    """Return the name of a video's report, below the folder of reports."""
    return f"{name.removesuffix('.mp4')}.json"


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()
