"""A batch's folder: where videos and reports lie, what is finished there, and what a killed run left."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from navicache_cli.batch.items import Item, fingerprint, for_fingerprint
from navicache_cli.batch.manifest import Done, Record
from navicache_cli.errors import NavicacheError, UsageError
from navicache_cli.files import prepare_folder, sha256_of, sweep
from navicache_cli.report.report import Report, read_report

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
        return self.root / VIDEOS

    def video(self, item: Item) -> Path:
        return self.videos / item.name

    def report(self, item: Item) -> Path:
        return self.root / REPORTS / report_name(item.name)

    def standing(self, item: Item, record: Record | None, overwrite: bool) -> Standing:
        """Find out whether an item is finished, by its record and by what is on the disk.

        Args:
            item: the video asked for.
            record: the latest of that name.
            overwrite: whether to replace videos of other settings or another origin.

        Raises:
            UsageError: there is a video of that name that was made otherwise, or a video or report that no
                record explains.
        """
        video, report = self.video(item), self.report(item)
        there = [path for path in (video, report) if os.path.lexists(path)]
        if not there:
            return Standing.NEW
        if isinstance(record, Done):
            # An older version counted other options in; the report tells whether they are the same.
            if record.settings == item.fingerprint() or self.finished_report(item) is not None:
                fine = sha256_of(video) == record.video and report.is_file()
                return Standing.KEEP if fine else Standing.REPLACE
            if video in there and not overwrite:
                raise self._other_settings(item)
            return Standing.REPLACE
        if self.finished_report(item) is not None:
            return Standing.ADOPT
        if record is None and not overwrite:
            raise UsageError(
                f"{item.where}: {there[0]} is there, and no record says that it is of this batch",
                "choose another --output-dir, or --overwrite",
            )
        return Standing.REPLACE

    def finished_report(self, item: Item) -> Report | None:
        """Return the report of an item whose video is complete, or None."""
        try:
            report = read_report(self.report(item))
            same = fingerprint(report.plan_values()) == item.fingerprint()
        except (NavicacheError, ValueError, TypeError, ArithmeticError):  # It may have been edited.
            return None
        return report if same and report.output.sha256 == sha256_of(self.video(item)) else None

    def prepare(self, items: Iterable[Item]) -> None:
        """Make the folders of these items and find out whether they can be written.

        Raises:
            OutputError: one cannot.
        """
        for folder in self._folders(items):
            prepare_folder(folder, "choose another --output-dir, or free some space")

    def sweep(self, items: Iterable[Item]) -> None:
        """Remove the hidden files that processes which are gone left in the folders of these items."""
        for folder in self._folders(items):
            sweep(folder)

    def _folders(self, items: Iterable[Item]) -> set[Path]:
        return {path.parent for item in items for path in (self.video(item), self.report(item))}

    def _other_settings(self, item: Item) -> UsageError:
        try:
            found = read_report(self.report(item)).plan_values()
        except NavicacheError:
            found = {}
        wanted = for_fingerprint(item.plan(self.videos).values())
        changed = [key for key, value in wanted.items() if found and found.get(key) != value]
        differing = ", ".join(f"{key} {found.get(key)!r}, now {wanted[key]!r}" for key in changed[:4])
        return UsageError(
            f"{item.where}: {self.video(item)} was made with other settings"
            f"{': ' + differing if differing else ''}",
            "choose another --output-dir, or --overwrite",
        )


def report_name(name: str) -> str:
    """Return the name of a video's report, below the folder of reports."""
    return f"{name.removesuffix('.mp4')}.json"
