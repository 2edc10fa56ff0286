"""`navicache metrics`: how close videos are to others of the same prompts and seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import terminal
from ..errors import BackendError, OutputError, UsageError, WeightsError
from ..metrics import compare_videos

if TYPE_CHECKING:
    from rich.table import Table

    from ..perceptual import Lpips

CONVENTION = "VideoSys eval/pab/common_metrics"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".gif")
METRICS = ("psnr", "ssim", "lpips")
_HEADINGS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
_FORMATS = {"psnr": "{:.2f}", "ssim": "{:.4f}", "lpips": "{:.4f}"}


@dataclass(frozen=True)
class Series:
    """One metric: its mean, and each frame's."""

    mean: float
    per_frame: list[float]


Fidelity = dict[str, Series | None]  # by the names in METRICS; None: left out


def metrics(a: Path, b: Path, use_lpips: bool | None = None, as_json: bool = False) -> None:
    """Compare two videos, or two folders of videos matched by name, and show the figures.

    Args:
        a, b: two files, or two folders.
        use_lpips: True insists on LPIPS and may download its weights; False leaves it out; None computes it
            if its package and weights are there.
        as_json: print a JSON document instead of a table.

    Raises:
        UsageError: a file and a folder, partners missing, sizes or lengths that differ.
        OutputError: a file is missing or is not a video.
        BackendError, WeightsError: LPIPS was insisted on and cannot be computed.
    """
    pairs = _pairs(a, b)
    measure_lpips, notes = pick_lpips(use_lpips)
    for note in notes:
        terminal.show_note(note)
    found: dict[str, Fidelity] = {}
    for name, (first, second) in pairs.items():
        with terminal.stderr.status(f"comparing {name} ({len(found) + 1} of {len(pairs)})"):
            found[name] = _compare(first, second, measure_lpips)
    if a.is_dir():
        total = _over_files(list(found.values()))
        extra = {"files": {name: _plain(fidelity) for name, fidelity in found.items()}}
        table = _table("video", {name: _means(fidelity) for name, fidelity in found.items()}, _means(total))
    else:
        total, extra = next(iter(found.values())), {}
        table = _table("frame", _by_frame(total), _means(total))
    if as_json:
        document = {"convention": CONVENTION, "a": str(a), "b": str(b), **_plain(total), **extra}
        print(json.dumps({**document, "notes": notes}, indent=1, allow_nan=False))
    else:
        terminal.stdout.print(table)


def _pairs(a: Path, b: Path) -> dict[str, tuple[Path, Path]]:
    """Files to compare, by the name to show."""
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


def pick_lpips(wanted: bool | None) -> tuple[Lpips | None, list[str]]:
    """Return the function to measure LPIPS with, or None and a note that says why.

    Args:
        wanted: True insists and may download its weights, False leaves it out, None takes it if it is there.

    Raises:
        BackendError, WeightsError: LPIPS was insisted on and cannot be computed.
    """
    if wanted is False:
        return None, []
    from ..perceptual import load_lpips

    try:
        return load_lpips(download=wanted is True), []
    except (BackendError, WeightsError) as error:
        if wanted:
            raise
        return None, [f"LPIPS is left out: {error.message}. To have it: {error.hint}"]


def _compare(first: Path, second: Path, measure_lpips: Lpips | None) -> Fidelity:
    from ..video import read_video

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


def _over_files(found: list[Fidelity]) -> Fidelity:
    """Means over videos: of their means, and at each frame of those videos that have it."""
    total: Fidelity = {}
    for key in METRICS:
        series = [one for fidelity in found if (one := fidelity[key]) is not None]
        columns = zip_longest(*(one.per_frame for one in series))
        per_frame = [float(np.mean([x for x in column if x is not None])) for column in columns]
        total[key] = Series(float(np.mean([one.mean for one in series])), per_frame) if series else None
    return total


def _means(fidelity: Fidelity) -> dict[str, float]:
    return {key: series.mean for key, series in fidelity.items() if series is not None}


def _by_frame(fidelity: Fidelity) -> dict[str, dict[str, float]]:
    series = {key: one.per_frame for key, one in fidelity.items() if one is not None}
    return {str(i): {key: series[key][i] for key in series} for i in range(len(series["psnr"]))}


def _plain(fidelity: Fidelity) -> dict[str, Any]:
    return {
        key: None if series is None else {"mean": series.mean, "per_frame": series.per_frame}
        for key, series in fidelity.items()
    }


def _table(kind: str, rows: dict[str, dict[str, float]], total: dict[str, float]) -> Table:
    """Tabulate rows by name, and below them their mean."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column(kind, "mean", overflow="fold", footer_style="bold")
    for key in total:
        footer = _FORMATS[key].format(total[key])
        table.add_column(_HEADINGS[key], footer, justify="right", no_wrap=True, footer_style="bold")
    for name, row in rows.items():
        table.add_row(Text(name), *(_FORMATS[key].format(row[key]) for key in total))
    return table
