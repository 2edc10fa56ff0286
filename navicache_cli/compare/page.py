"""The page: one index.html beside the videos, readable offline.

Style, script and data are inside it. The data is JSON in which no `<` is left, so no prompt can end its
element, and the script puts text on the page as text, never as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from navicache_cli.compare.document import Comparison
from navicache_cli.media.metrics import page_metrics
from navicache_cli.report.documents import plain
from navicache_cli.report.report import Report

_SCRIPTS = (
    "elements.js", "metrics.js", "common.js", "frontier.js", "table.js", "player.js", "strip.js", "videos.js",
    "page.js",
)  # fmt: skip


def page_data(comparison: Comparison, reports: Mapping[str, Report]) -> dict[str, Any]:
    """Return what the page shows of a comparison and the reports of its cells, by their keys."""
    steps = {cell.key: strip_steps(reports[cell.key]) for cell in comparison.cells}
    return {"comparison": plain(comparison), "steps": steps, "metrics": page_metrics()}


def page_text(data: dict[str, Any]) -> str:
    """Return index.html of a comparison with its data in it."""
    figures = "compare.json and compare.csv, the videos in cells/."
    scripts = map(asset, _SCRIPTS)
    return fill_page("navicache compare", figures, asset("page.html"), asset("page.css"), scripts, data)


def fill_page(
    title: str, figures: str, main: str, style: str, scripts: Iterable[str], data: dict[str, Any]
) -> str:
    """Return a page: the frame all pages share, and what is its own put into it.

    Args:
        title: the command.
        figures: where they are without a browser that runs scripts.
        main: its sections, HTML; the mark `<!-- videos -->` stands for the controls of videos.
        style, scripts: that go into it.
        data: JSON values, for the scripts.
    """
    text = asset("shell.html").replace("<!-- title -->", title).replace("<!-- figures -->", figures)
    text = text.replace("<!-- main -->\n", main)
    text = text.replace("<!-- videos -->", asset("videos.html").strip())
    text = text.replace("/* style */", style).replace("/* script */", "\n".join(scripts))
    # JSON may have its `<` written like this; HTML would take `</script>` or `<!--` for its own.
    safe = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    # Last, as the data may hold anything, and in one place only.
    before, after = text.split("/* data */")
    return before + safe + after


def asset(name: str, room: str = "compare") -> str:
    """Return a part of a page by its file's name, from the folder `page` of a room."""
    return files(f"navicache_cli.{room}").joinpath("page").joinpath(name).read_text("utf-8")


def strip_steps(report: Report) -> dict[str, Any]:
    """Return what the strip of steps shows of a report, one list per quantity."""
    return {
        "threshold": report.plan_values().get("threshold"),
        "computed": [int(step.computed) for step in report.steps],
        "forced": [int(step.forced) for step in report.steps],
        "ratio": [_short(step.ratio) for step in report.steps],
        "error": [_short(step.accumulated_error) for step in report.steps],
        "reused": [" ".join(step.reused) for step in report.steps],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
