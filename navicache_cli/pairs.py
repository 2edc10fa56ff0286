"""Videos in pairs, a reference and another of the same prompt and seed, and how close they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OutputError, UsageError
from .metrics import compare_videos

if TYPE_CHECKING:
    from .perceptual import Lpips

CONVENTION = "VideoSys eval/pab/common_metrics"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".gif")
METRICS = ("psnr", "ssim", "lpips")
HEADINGS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
FORMATS = {"psnr": "{:.2f}", "ssim": "{:.4f}", "lpips": "{:.4f}"}


@dataclass(frozen=True)
class Series:
    """One metric: its mean, and each frame's."""

    mean: float
    per_frame: list[float]


Fidelity = dict[str, Series | None]  # by the names in METRICS; None: left out


def pairs_of(a: Path, b: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files to compare, by the name to show: two files, or those of two folders.

    Raises:
        UsageError: a file and a folder, or partners missing.
        OutputError: nothing is there, or a folder cannot be read.
    """
    for path in (a, b):
        if not path.exists():
            raise OutputError(
                f"expected a video or a folder of videos; {path} is not there", "check the path"
            )
    if a.is_dir() != b.is_dir():
        folder, file = (a, b) if a.is_dir() else (b, a)
        raise UsageError(
            f"expected two videos or two folders; found the folder {folder} and the file {file}",
            "give two of a kind",
        )
    if not a.is_dir():
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


def compare_files(first: Path, second: Path, measure_lpips: Lpips | None) -> Fidelity:
    """Compare two files, the first of them the reference, frame by frame.

    Raises:
        UsageError: their sizes or lengths differ.
        OutputError: one is not a video.
    """
    from .video import read_video

    a, b = read_video(first)[0], read_video(second)[0]
    if a.shape != b.shape:
        raise UsageError(
            f"expected {second} to have {_extent(a)} like {first}; found {_extent(b)}",
            "generate both with the same --size and --frames",
        )
    try:
        fidelity = compare_videos(a, b)
        perceptual = None if measure_lpips is None else measure_lpips(a, b)
    except UsageError as error:
        raise UsageError(f"{second}: {error.message}", error.hint) from None
    return {
        "psnr": Series(fidelity.psnr, list(fidelity.psnr_per_frame)),
        "ssim": Series(fidelity.ssim, list(fidelity.ssim_per_frame)),
        "lpips": None if perceptual is None else Series(float(np.mean(perceptual)), list(perceptual)),
    }


def _extent(frames: np.ndarray) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frames of {width}x{height}"


def over_files(found: Collection[Fidelity]) -> Fidelity:
    """Return means over videos: of their means, and at each frame of those videos that have it."""
    total: Fidelity = {}
    for key in METRICS:
        series = [one for fidelity in found if (one := fidelity[key]) is not None]
        columns = zip_longest(*(one.per_frame for one in series))
        per_frame = [float(np.mean([x for x in column if x is not None])) for column in columns]
        total[key] = Series(float(np.mean([one.mean for one in series])), per_frame) if series else None
    return total


def means_of(fidelity: Fidelity) -> dict[str, float]:
    """Return the mean of each metric that was not left out."""
    return {key: series.mean for key, series in fidelity.items() if series is not None}


def plain(fidelity: Fidelity) -> dict[str, Any]:
    """Return JSON values: by metric its mean and each frame's, or null."""
    return {
        key: None if series is None else {"mean": series.mean, "per_frame": series.per_frame}
        for key, series in fidelity.items()
    }
