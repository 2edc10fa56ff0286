"""`navicache plot`: pictures of reports, and of estimators on measured pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from navicache_cli import terminal
from navicache_cli.errors import UsageError
from navicache_cli.plots.theme import DARK, LIGHT, Theme, check_picture, drawing, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from navicache_cli.plots.accuracy import Accuracy


def plot(sources: list[Path], output: Path | None = None, dark: bool = False) -> None:
    """Draw one report, several, or a CSV of measured pairs, and print the picture's path.

    Args:
        sources: reports (.json), or one CSV.
        output: a .png or .svg, replaced if it is there; by default beside the first source, `…-plot.png`.
        dark: light text on a dark ground.

    Raises:
        UsageError: a CSV among other files, another name than .png or .svg, reports that do not go
            together.
        OutputError: a source cannot be read, or is none; the picture cannot be written.
        BackendError: matplotlib is not installed.
    """
    path = output or sources[0].parent / f"{sources[0].stem}-plot.png"
    check_picture(path)
    pairs = [source for source in sources if source.suffix.lower() == ".csv"]
    if pairs and len(sources) > 1:
        raise UsageError(
            f"expected reports, or one CSV of measured pairs; found {pairs[0]} among {len(sources)} files",
            "plot them apart",
        )
    theme = DARK if dark else LIGHT
    with drawing(theme):
        save(_pairs_figure(sources[0], theme) if pairs else _reports_figure(sources, theme), path)
    terminal.show_path(path)


def _reports_figure(sources: list[Path], theme: Theme) -> Figure:
    from navicache_cli.plots.many_runs import draw_runs
    from navicache_cli.plots.one_run import draw_run
    from navicache_cli.plots.trace import read_trace

    traces = [read_trace(source) for source in sources]
    return draw_run(traces[0], theme) if len(traces) == 1 else draw_runs(traces, theme)


def _pairs_figure(source: Path, theme: Theme) -> Figure:
    from navicache_cli.plots.accuracy import measure_accuracy, read_pairs
    from navicache_cli.plots.estimators import draw_accuracy

    pairs = read_pairs(source)
    found = measure_accuracy(pairs)
    terminal.stdout.print(_accuracy_table(found))
    return draw_accuracy(found, len(pairs), theme)


def _accuracy_table(found: dict[str, Accuracy]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("one step ahead")
    for heading in ("mean absolute error", "mean relative error"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        table.add_row(name, f"{one.mae:.4f}", f"{one.relative:.1%}")
    return table
