"""A comparison on the terminal: progress while cells run, and the table at the end."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.compare.document import Comparison
from navicache_cli.compare.jobs import Job
from navicache_cli.compare.store import Cell
from navicache_cli.compare.summary import Spread
from navicache_cli.media.metrics import LEADING, METRICS, Metric
from navicache_cli.report.speed import show_speedup
from navicache_cli.streams import visible

TABLE_WIDTH = 130  # columns that the table fits in, with LPIPS and longish names


class CellProgress(terminal.ProgressBar):
    """A progress bar over the cells; without a terminal, a line for each cell that was run."""

    def __init__(self, cells: int) -> None:
        self.run, self._done, self._cells = 0, 0, cells
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("cells", total=cells)

    def __call__(self, job: Job, cell: Cell, was_run: bool) -> None:
        """Show one more cell."""
        self._done += 1
        self.run += was_run
        name = f"{job.setting.name}, prompt {job.prompt + 1}, seed {job.seed}"
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, description=visible(name))
        elif was_run:
            seconds = cell.report.timings_s.denoise
            found = cell.fidelity and cell.fidelity[LEADING.key]
            told = f", {LEADING.say(found.mean)}" if found else ""
            terminal.stderr.say(f"cell {self._done}/{self._cells}: {name}: {seconds:.2f} s{told}")


def settings_table(comparison: Comparison) -> Table:
    """Tabulate the settings: the baseline first, then by the work they take, most first."""
    metrics = [
        metric
        for key, metric in METRICS.items()
        if metric.brief and (metric.measure or any(setting.fidelity[key] for setting in comparison.settings))
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    headings = [heading for metric in metrics for heading in _headings(metric)]
    for heading in ["compute", "seconds", "speedup", *headings, "cache"]:
        table.add_column(heading, justify="right", no_wrap=True)
    baseline, *others = comparison.settings
    for setting in [baseline, *sorted(others, key=lambda one: -one.compute_ratio)]:
        table.add_row(
            Text(setting.name),
            f"{setting.compute_ratio:.0%}",
            f"{setting.denoise_s:.2f}",
            show_speedup(setting.speedup, setting.beyond_bound),
            *(text for metric in metrics for text in _figures(metric, setting.fidelity[metric.key])),
            f"{setting.cache_bytes / 2**20:.2f} MiB" if setting.cache_bytes else "-",
        )
    return table


def _headings(metric: Metric) -> list[str]:
    return [metric.label, *(["95 % CI"] if metric is LEADING else []), "worst"]


def _figures(metric: Metric, spread: Spread | None) -> list[str]:
    """What stands below a metric's headings."""
    if spread is None:
        return ["-"] * len(_headings(metric))
    interval = "-" if spread.low is None else f"{metric.show(spread.low)}-{metric.show(spread.high)}"
    return [metric.show(spread.mean), *([interval] if metric is LEADING else []), metric.show(spread.worst)]
