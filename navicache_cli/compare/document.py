"""compare.json and compare.csv: one versioned document, and a row a cell for spreadsheets.

The schema is `compare.schema.json` beside `report.schema.json`; `COMPARISON_VERSION` changes when a key
changes its meaning.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

from navicache_cli import __version__
from navicache_cli.compare.summary import CellResult, SettingResult
from navicache_cli.media.metrics import METRICS
from navicache_cli.report.documents import SOURCE, check_document, document_text, flat, read_schema
from navicache_cli.report.report import ModelIdentity

COMPARISON_VERSION = 1
_COLUMNS = (
    "setting", "method", "prompt", "seed", "compute_ratio", "computed_steps", "denoise_s", "speedup",
    *METRICS, "cache_bytes", "key", "video", "report", "prompt_text", "navicache_version",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Everything one comparison found.

    Attributes:
        plan: the baseline's options, each with its value and source; prompt and seed differ between cells.
        model: weights and code; of other implementations, see the reports of their cells.
        machine: where the last cells ran.
        prompts, seeds: what was generated; each prompt with each seed.
        settings: the baseline, then what was held against it.
        cells: a setting, a prompt and a seed each.
        notes: what a reader should know.
    """

    plan: dict[str, dict[str, Any]]
    model: ModelIdentity
    machine: dict[str, Any]
    prompts: list[str]
    seeds: list[int]
    settings: list[SettingResult]
    cells: list[CellResult]
    notes: list[str]
    version: int = COMPARISON_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        document = {**SOURCE, **asdict(self)}
        for part in ("settings", "cells"):
            document[part] = [flat(one) for one in document[part]]
        return document


def validate(document: Any) -> None:
    """Check a document against the schema.

    Raises:
        OutputError: naming the first key that does not fit.
    """
    schema = read_schema("compare.schema.json")
    check_document(document, schema, "navicache comparison", "run `navicache compare` again")


def json_text(comparison: Comparison) -> str:
    """Return compare.json, checked against its schema.

    Raises:
        OutputError: it does not fit.
    """
    document = comparison.to_json()
    validate(document)
    return document_text(document)


def csv_text(comparison: Comparison) -> str:
    """Return a header and a row a cell; prompts are numbered from 0, what was not measured is empty."""
    methods = {setting.name: setting.method for setting in comparison.settings}
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in comparison.cells:
        further = {
            "method": methods[cell.setting],
            "prompt_text": comparison.prompts[cell.prompt],
            "navicache_version": __version__,
        }
        writer.writerow({**flat(asdict(cell)), **further})
    return table.getvalue()
