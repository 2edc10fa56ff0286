"""The page of a batch: one index.html beside the videos, readable offline, of the comparison's parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from navicache_cli.batch.summary import Summary
from navicache_cli.compare.page import asset, fill_page, strip_steps
from navicache_cli.files import write_atomically
from navicache_cli.media.metrics import page_metrics
from navicache_cli.report.documents import plain
from navicache_cli.report.report import Report

_PARTS = ("elements.js", "metrics.js", "strip.js")
_own = partial(asset, room="batch")


def write_page(summary: Summary, reports: Mapping[str, Report], path: Path) -> None:
    """Write the page.

    Args:
        summary: what to show.
        reports: of the videos that it lists by name.
        path: in the batch's folder, beside its videos.

    Raises:
        OutputError: the page cannot be written.
    """
    steps = {name: strip_steps(report) for name, report in reports.items()}
    data = {"summary": plain(summary), "steps": steps, "metrics": page_metrics()}
    write_atomically(path, page_text(data))


def page_text(data: dict[str, Any]) -> str:
    """Return the page with its data in it."""
    figures = "batch-report.json, the videos in videos/."
    scripts = [*map(asset, _PARTS), _own("charts.js"), _own("batch.js")]
    style = asset("page.css") + _own("batch.css")
    return fill_page("navicache batch", figures, _own("batch.html"), style, scripts, data)
