"""Write the JSON schemas of all documents from their definitions.

Run it after a change to a document: python scripts/write_schemas.py
"""

from __future__ import annotations

from pathlib import Path

from navicache_cli.batch.summary import Summary
from navicache_cli.compare.document import Comparison
from navicache_cli.evaluation.documents import CommonMetrics, Evaluation
from navicache_cli.report import schemas
from navicache_cli.report.documents import json_text, schema_of
from navicache_cli.report.report import Report
from navicache_cli.report.schedules import Schedules

DOCUMENTS = {
    "report": Report,
    "compare": Comparison,
    "batch_report": Summary,
    "common_metrics": CommonMetrics,
    "vbench": Evaluation,
    "schedule": Schedules,
}
FOLDER = Path(schemas.__file__).parent


def main() -> None:
    """Write a file for each kind of document."""
    for name, kind in DOCUMENTS.items():
        (FOLDER / f"{name}.schema.json").write_text(json_text(schema_of(kind)), "utf-8")


if __name__ == "__main__":
    main()
