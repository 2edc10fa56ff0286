"""VBench's scores on the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from navicache_cli.evaluation.dimensions import QUALITY, SEMANTIC
from navicache_cli.evaluation.documents import Evaluation


def scores_table(document: Evaluation) -> Table:
    """Tabulate vbench.json: the total, then each group with its dimensions below it, all in percent."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("dimension", no_wrap=True)
    for heading in ("score", "normalised", "weight", "videos"):
        table.add_column(heading, justify="right", no_wrap=True)
    totals = document.totals
    table.add_row("total", "", _percent(totals.total), style="bold")
    for group, score in ((QUALITY, totals.quality), (SEMANTIC, totals.semantic)):
        members = [dimension for dimension in document.dimensions if dimension.group == group]
        if members:
            table.add_row(group, "", _percent(score), style="bold")
        for dimension in members:
            name = f"  {dimension.name}"
            if dimension.score is None:
                table.add_row(name, Text("failed", style="red"), "-", f"{dimension.weight:g}", "-")
                continue
            shown = (_percent(dimension.score), _percent(dimension.normalised))
            table.add_row(name, *shown, f"{dimension.weight:g}", str(dimension.videos))
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
