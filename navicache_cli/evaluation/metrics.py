"""`navicache metrics`: how close videos are to others of the same prompts and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli import terminal
from navicache_cli.media.fidelity import Fidelity, means_of
from navicache_cli.media.lpips import pick_lpips
from navicache_cli.media.metrics import METRICS
from navicache_cli.media.pairs import CONVENTION, compare_files, over_files, pairs_of
from navicache_cli.report.documents import json_text, plain

if TYPE_CHECKING:
    from rich.table import Table


def metrics(a: Path, b: Path, use_lpips: bool | None = None, as_json: bool = False) -> None:
    """Compare two videos, or two folders of videos matched by name, and show the figures.

    Args:
        a, b: two files, or two folders.
        use_lpips: True insists on LPIPS and may download its weights; False leaves it out; None computes it
            if its package and weights are there.
        as_json: print a JSON document instead of a table.

    Raises:
        UsageError: a file and a folder, partners missing, sizes or lengths that differ.
        OutputError: a file is missing or is not a video.
        BackendError, WeightsError: LPIPS was insisted on and cannot be computed.
    """
    pairs = pairs_of(a, b)
    models, notes = pick_lpips(use_lpips)
    for note in notes:
        terminal.show_note(note)
    found: dict[str, Fidelity] = {}
    for name, (first, second) in pairs.items():
        with terminal.stderr.status(f"comparing {name} ({len(found) + 1} of {len(pairs)})"):
            found[name] = compare_files(first, second, models)
    if a.is_dir():
        total = over_files(list(found.values()))
        extra = {"files": {name: plain(fidelity) for name, fidelity in found.items()}}
        table = metrics_table(
            "video", {name: means_of(fidelity) for name, fidelity in found.items()}, means_of(total)
        )
    else:
        total, extra = next(iter(found.values())), {}
        table = metrics_table("frame", _by_frame(total), means_of(total))
    if as_json:
        document = {"convention": CONVENTION, "a": str(a), "b": str(b), **plain(total), **extra}
        print(json_text({**document, "notes": notes}), end="")
    else:
        terminal.stdout.print(table)


def _by_frame(fidelity: Fidelity) -> dict[str, dict[str, float]]:
    series = {key: one.per_frame for key, one in fidelity.items() if one is not None}
    frames = max(len(values) for values in series.values())
    return {
        str(i): {key: values[i] for key, values in series.items() if i < len(values)} for i in range(frames)
    }


def metrics_table(kind: str, rows: dict[str, dict[str, float]], total: dict[str, float]) -> Table:
    """Tabulate rows by name, and below them their mean."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column(kind, "mean", overflow="fold", footer_style="bold")
    for key in total:
        metric, footer = METRICS[key], METRICS[key].show(total[key])
        table.add_column(metric.heading, footer, justify="right", no_wrap=True, footer_style="bold")
    for name, row in rows.items():
        table.add_row(Text(name), *(METRICS[key].show(row.get(key)) for key in total))
    return table
