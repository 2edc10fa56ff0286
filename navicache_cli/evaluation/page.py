"""The pages: one index.html each, readable offline, of the comparison's parts and a table of their own."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from navicache_cli.compare.page import asset, fill_page
from navicache_cli.errors import NavicacheError
from navicache_cli.evaluation.documents import CommonMetrics, Evaluation
from navicache_cli.media.fidelity import Series
from navicache_cli.media.metrics import METRICS, page_metrics
from navicache_cli.report.documents import plain

_PAIRS = ("elements.js", "metrics.js", "common.js", "player.js", "videos.js")
_VBENCH = ("elements.js", "player.js")
_own = partial(asset, room="evaluation")


def pairs_page(document: CommonMetrics, folder: Path) -> str:
    """Return index.html for common metrics, with every pair to watch side by side.

    Args:
        document: see `documents.common_document`.
        folder: where the page goes.
    """
    a, b = Path(document.a), Path(document.b)
    names = list(document.files)
    sides = {"reference": a, "compared": b}
    cells = [
        {"setting": side, "prompt": i, "seed": 0, "video": _link(place / name, folder), "key": f"{side} {i}",
         **{metric: _mean(document.files[name][metric], side) for metric in METRICS}}
        for i, name in enumerate(names)
        for side, place in sides.items()
    ]  # fmt: skip
    # As a comparison has it, of two settings.
    comparison = {
        "settings": [{"name": side, "method": side} for side in sides],
        "prompts": names,
        "seeds": [0],
        "cells": cells,
        "plan": {"fps": {"value": _fps(a / names[0])}},
    }
    data = {"document": plain(document), "comparison": comparison, "metrics": page_metrics()}
    return _page("common", "common_metrics.json.", "pairs", _PAIRS, data)


def vbench_page(document: Evaluation, videos: Path, folder: Path) -> str:
    """Return index.html for VBench's scores, with the videos of each dimension.

    Args:
        document: see `documents.vbench_document`.
        videos: the folder of videos.
        folder: where the page goes.
    """
    names = [video.name for video in document.videos]
    links = {name: _link(videos / name, folder) for name in names}
    data = {"document": plain(document), "links": links, "fps": _fps(videos / names[0])}
    return _page("vbench", "vbench.json.", "vbench", _VBENCH, data)


def _page(command: str, figures: str, name: str, parts: tuple[str, ...], data: dict[str, Any]) -> str:
    scripts = [*map(asset, parts), _own(f"{name}.js")]
    style = asset("page.css") + _own("evaluation.css")
    return fill_page(f"navicache eval {command}", figures, _own(f"{name}.html"), style, scripts, data)


def _link(video: Path, folder: Path) -> str:
    """The address of a video from a page in `folder`; names hold spaces, and may hold # and %."""
    return quote(Path(os.path.relpath(video, folder)).as_posix())


def _mean(series: Series | None, side: str) -> float | None:
    return None if series is None or side == "reference" else series.mean


def _fps(video: Path) -> float:
    """Frames a second of a video; the players need a number, even of one that cannot be read."""
    from navicache_cli.media.video_in import probe_video

    try:
        return probe_video(video).fps
    except NavicacheError:
        return 8.0
