"""vbench.json and common_metrics.json: what was found, as versioned documents with a schema each.

The schemas are `vbench.schema.json` and `common_metrics.schema.json` beside `report.schema.json`; a
document's version changes when a key changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from navicache_cli.evaluation.dimensions import DIMENSIONS, add_up
from navicache_cli.evaluation.package import Verdict
from navicache_cli.media.fidelity import Fidelity
from navicache_cli.media.metrics import METRICS
from navicache_cli.media.pairs import CONVENTION, over_files, plain
from navicache_cli.report.documents import SOURCE, check_document, document_text, read_schema

VBENCH_VERSION = 1
COMMON_VERSION = 1
VBENCH_CONVENTION = "VBench scripts/cal_final_score.py at 7975661"


def vbench_document(
    verdicts: Mapping[str, Verdict],
    errors: Mapping[str, str],
    prompts: Mapping[str, str],
    folder: str,
    version: str,
    plan: dict[str, dict[str, Any]] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Sum up what vbench said.

    Args:
        verdicts: by dimension.
        errors: of the dimensions that could not be scored.
        prompts: of each video, by its name.
        folder: of the videos, from where the document is.
        version: of the package vbench.
        plan: the options of the videos, if they were made here.
        notes: what a reader should know.
    """
    return {
        **SOURCE,
        "version": VBENCH_VERSION,
        "convention": VBENCH_CONVENTION,
        "vbench": version,
        "folder": folder,
        "plan": plan,
        "totals": asdict(add_up({name: verdict.score for name, verdict in verdicts.items()})),
        "dimensions": [
            _dimension(name, verdicts.get(name), errors.get(name))
            for name in DIMENSIONS
            if name in verdicts or name in errors
        ],
        "videos": [
            {
                "name": name,
                "prompt": prompt,
                "scores": {
                    dimension: verdict.videos[name]
                    for dimension, verdict in verdicts.items()
                    if name in verdict.videos
                },
            }
            for name, prompt in prompts.items()
        ],
        "notes": list(notes),
    }


def _dimension(name: str, verdict: Verdict | None, error: str | None) -> dict[str, Any]:
    dimension = DIMENSIONS[name]
    return {
        "name": name,
        "group": dimension.group,
        "weight": dimension.weight,
        "score": None if verdict is None else verdict.score,
        "normalised": None if verdict is None else dimension.normalise(verdict.score),
        "videos": 0 if verdict is None else len(verdict.videos),
        "seconds": None if verdict is None else verdict.seconds,
        "error": error,
    }


def common_document(a: Path, b: Path, found: Mapping[str, Fidelity], notes: Sequence[str]) -> dict[str, Any]:
    """Sum up the figures of all pairs, by the names of their files; `a` has the references."""
    worst: dict[str, dict[str, Any] | None] = {}
    for key, metric in METRICS.items():
        means = {name: one.mean for name, fidelity in found.items() if (one := fidelity[key]) is not None}
        name = min(means, key=lambda name: metric.rank(means[name]), default="")
        worst[key] = {"name": name, "mean": means[name]} if means else None
    return {
        **SOURCE,
        "version": COMMON_VERSION,
        "convention": CONVENTION,
        "a": str(a),
        "b": str(b),
        **plain(over_files(list(found.values()))),
        "worst": worst,
        "files": {name: plain(fidelity) for name, fidelity in found.items()},
        "notes": list(notes),
    }


def checked_text(document: dict[str, Any], name: str) -> str:
    """Return a document as it is written to a file of that name, checked against its schema.

    Raises:
        OutputError: it does not fit.
    """
    schema = read_schema(name.replace(".json", ".schema.json"))
    check_document(document, schema, f"{name} of navicache", "run the same command again")
    return document_text(document)
