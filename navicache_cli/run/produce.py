"""A video and its report: both written hidden, then given their names together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import cannot_write
from navicache_cli.files import TakenError, part_of, publish, write_part
from navicache_cli.media.video import VideoInfo, encode_video
from navicache_cli.report.documents import document_text
from navicache_cli.report.report import Report

if TYPE_CHECKING:
    import numpy as np


def publish_result(
    frames: np.ndarray,
    fps: float,
    tags: dict[str, str],
    report_for: Callable[[VideoInfo], Report],
    places: Iterable[tuple[Path, Path]],
    overwrite: bool,
) -> Report:
    """Write a video and its report; both appear under their names, or neither does.

    Args:
        frames: [F, H, W, 3] uint8 RGB.
        fps: frames per second.
        tags: of the MP4.
        report_for: makes the report once the video is written; again if it gets another name.
        places: paths of video and report in folders that exist, at least one pair; where a name is taken, the
            next pair is tried.
        overwrite: whether they may replace files.

    Raises:
        TakenError: the names of the last place are taken and not to be replaced.
        OutputError: one of them cannot be written, or the report does not fit its definition.
    """
    following = iter(places)
    path, report_path = next(following)
    try:
        with part_of(path) as video, part_of(report_path) as document:
            info = encode_video(frames, video, fps, tags, path)
            while True:
                report = report_for(replace(info, path=path))
                write_part(document, document_text(report))
                try:
                    publish([(video, path), (document, report_path)], overwrite)
                    return report
                except TakenError:
                    place = next(following, None)
                    if place is None:
                        raise
                    path, report_path = place
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, "choose a folder you may write to with --output") from error
