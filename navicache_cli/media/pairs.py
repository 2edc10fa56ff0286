"""Videos in pairs, a reference and another of the same prompt and seed, and how close they are."""

from __future__ import annotations

import stat
from collections.abc import Collection
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navicache_cli.errors import OutputError, UsageError, one_line
from navicache_cli.media.fidelity import Fidelity, Models, Series, compare_frames
from navicache_cli.media.metrics import METRICS

if TYPE_CHECKING:
    from navicache_cli.media.video_in import VideoFacts

CONVENTION = "VideoSys eval/pab/common_metrics"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".gif")


def pairs_of(a: Path, b: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files to compare, by the name to show: two files, or those of two folders.

    Raises:
        UsageError: a file and a folder, or partners missing.
        OutputError: nothing is there, or a folder cannot be read.
    """
    folders = [_is_folder(path) for path in (a, b)]
    if folders[0] != folders[1]:
        folder, file = (a, b) if folders[0] else (b, a)
        raise UsageError(
            f"expected two videos or two folders; found the folder {folder} and the file {file}",
            "give two of a kind",
        )
    if not folders[0]:
        return {b.name: (a, b)}
    names_a, names_b = _videos(a), _videos(b)
    if names_a != names_b:
        missing = [f"{b} has no {name}" for name in sorted(names_a - names_b)]
        missing += [f"{a} has no {name}" for name in sorted(names_b - names_a)]
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(
            f"expected the same names in both folders; {', '.join(missing[:3])}{more}",
            "add the missing videos, or move those without a partner elsewhere",
        )
    if not names_a:
        raise UsageError(f"expected videos ({' '.join(VIDEO_SUFFIXES)}) in {a}; found none", "check the path")
    return {name: (a / name, b / name) for name in sorted(names_a)}


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = f"cannot be read: {getattr(error, 'strerror', None) or one_line(error)}"
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            reason = "is not there"
        raise OutputError(
            f"expected a video or a folder of videos; {path} {reason}", "check the path"
        ) from None


def _videos(folder: Path) -> set[str]:
    try:
        return {
            path.name
            for path in folder.iterdir()
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
        }
    except OSError as error:
        raise OutputError(
            f"cannot read the folder {folder}: {error.strerror}", "check its permissions"
        ) from None


def compare_files(first: Path, second: Path, models: Models | None = None) -> Fidelity:
    """Compare two files, the first of them the reference, frame by frame, and hold only a few of each.

    Args:
        first, second: videos.
        models: see `fidelity.compare_videos`.

    Raises:
        UsageError: their sizes or lengths differ.
        OutputError: one is not a video.
    """
    from navicache_cli.media.video_in import frames_of, probe_video

    a, b = probe_video(first), probe_video(second)
    if _extent(a) != _extent(b):
        raise UsageError(
            f"expected {second} to have {_extent(a)} like {first}; found {_extent(b)}",
            "generate both with the same --size and --frames",
        )
    with closing(frames_of(a)) as frames_a, closing(frames_of(b)) as frames_b:
        try:
            return compare_frames(zip(frames_a, frames_b, strict=True), models=models)
        except UsageError as error:
            raise UsageError(f"{second}: {error.message}", error.hint) from None


def _extent(video: VideoFacts) -> str:
    count = len(video.times)
    return f"{count} frame{'s' * (count != 1)} of {video.width}x{video.height}"


def over_files(found: Collection[Fidelity]) -> Fidelity:
    """Return means over videos: of their means, and at each frame of those videos that have it."""
    total: Fidelity = {}
    for key in METRICS:
        series = [one for fidelity in found if (one := fidelity[key]) is not None]
        columns = zip_longest(*(one.per_frame for one in series))
        per_frame = [float(np.mean([x for x in column if x is not None])) for column in columns]
        total[key] = Series(float(np.mean([one.mean for one in series])), per_frame) if series else None
    return total
