"""compare.json and compare.csv: one versioned document, and one row per cell for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Annotated, ClassVar

from msgspec import Meta, field

from navicache_cli import __version__
from navicache_cli.compare.summary import CellResult, SettingResult
from navicache_cli.report.documents import Document, plain, written_by
from navicache_cli.report.report import Machine, ModelIdentity, PlanEntries

COMPARISON_VERSION = 1  # goes up when a key changes its name or meaning
_NOT_IN_CSV = {"sitting", "beyond_bound"}


class Comparison(Document, frozen=True, kw_only=True):
    """Methods against the uncached baseline on the same prompts and seeds: cells, and what they add up to."""

    NAME: ClassVar[str] = "comparison"
    HINT: ClassVar[str] = "run `navicache compare` again"

    source: Annotated[str, Meta(description="what wrote it")] = field(default_factory=written_by)
    plan: Annotated[
        PlanEntries, Meta(description="the baseline's options; prompt and seed differ between cells")
    ]
    model: Annotated[
        ModelIdentity,
        Meta(description="of other implementations, see the reports of their cells"),
    ]
    machine: Annotated[Machine, Meta(description="where the last cells ran")]
    prompts: Annotated[list[str], Meta(min_length=1)]
    seeds: Annotated[list[int], Meta(min_length=1, description="each prompt is generated with each seed")]
    settings: Annotated[list[SettingResult], Meta(min_length=1, description="the baseline (off) first")]
    cells: Annotated[list[CellResult], Meta(min_length=1)]
    notes: Annotated[list[str], Meta(description="what a reader should know, such as ignored words")]
    version: int = COMPARISON_VERSION


def csv_text(comparison: Comparison) -> str:
    """Return a header and one row per cell; prompts are numbered from 0, what was not measured is empty."""
    methods = {setting.name: setting.method for setting in comparison.settings}
    rows = []
    for cell in comparison.cells:
        figures = {name: value for name, value in plain(cell).items() if name not in _NOT_IN_CSV}
        rows.append(
            {
                "setting": figures.pop("setting"),
                "method": methods[cell.setting],
                **figures,
                "prompt_text": comparison.prompts[cell.prompt],
                "navicache_version": __version__,
            }
        )
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()
