"""The files of a comparison beside its cells: compare.json, compare.csv and index.html, written together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from navicache_cli.compare.document import Comparison, csv_text
from navicache_cli.compare.page import page_data, page_text
from navicache_cli.files import check_replaceable, write_together
from navicache_cli.report.documents import document_text
from navicache_cli.report.report import Report


def result_paths(folder: Path, page: bool) -> list[Path]:
    """Return where the files go, the page only if it is wanted.

    Raises:
        OutputError: one of them would replace a file that is not ours.
    """
    paths = [folder / name for name in ("compare.json", "compare.csv", "index.html")[: 3 if page else 2]]
    for path in paths:
        check_replaceable(path)
    return paths


def write_results(paths: Sequence[Path], comparison: Comparison, reports: Mapping[str, Report]) -> None:
    """Write the files, all of them or none.

    Args:
        paths: see `result_paths`.
        comparison: what they show.
        reports: of its cells, by their keys.

    Raises:
        OutputError: the folder cannot be written, or the document does not fit its definition.
    """
    write_together(dict(zip(paths, _texts(comparison, reports), strict=False)))


def _texts(comparison: Comparison, reports: Mapping[str, Report]) -> Iterator[str]:
    yield document_text(comparison)
    yield csv_text(comparison)
    yield page_text(page_data(comparison, reports))
