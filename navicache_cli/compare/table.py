"""A comparison on the terminal: progress while cells run, and the table at the end."""

from __future__ import annotations

from statistics import fmean
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.compare.document import Comparison
from navicache_cli.compare.jobs import Job
from navicache_cli.compare.store import Cell
from navicache_cli.compare.summary import Spread
from navicache_cli.report.speed import show_speedup
from navicache_cli.streams import visible

TABLE_WIDTH = 130  # columns that the table fits in, with LPIPS and longish names


class CellProgress:
    """A progress bar over the cells; without a terminal, a line for each cell that was run."""

    def __init__(self, cells: int) -> None:
        self.run, self._done, self._cells = 0, 0, cells
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=terminal.stderr,
            disable=not terminal.stderr.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("cells", total=cells)

    def __enter__(self) -> CellProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, job: Job, cell: Cell, was_run: bool) -> None:
        """Show one more cell."""
        self._done += 1
        self.run += was_run
        name = f"{job.setting.name}, prompt {job.prompt + 1}, seed {job.seed}"
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, description=visible(name))
        elif was_run:
            seconds = cell.report["timings_s"]["denoise"]
            psnr = "" if cell.fidelity is None else f", PSNR {fmean(cell.fidelity.psnr):.2f} dB"
            terminal.stderr.say(f"cell {self._done}/{self._cells}: {name}: {seconds:.2f} s{psnr}")


def settings_table(comparison: Comparison) -> Table:
    """Tabulate the settings: the baseline first, then by the work they take, most first."""
    with_lpips = any(setting.lpips for setting in comparison.settings)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    headings = ["compute", "seconds", "speedup", "PSNR", "95 % CI", "worst", "SSIM", "worst"]
    for heading in [*headings, *(["LPIPS", "worst"] if with_lpips else []), "cache"]:
        table.add_column(heading, justify="right", no_wrap=True)
    baseline, *others = comparison.settings
    for setting in [baseline, *sorted(others, key=lambda one: -one.compute_ratio)]:
        lpips = [_mean(setting.lpips, 4), _worst(setting.lpips, 4)] if with_lpips else []
        table.add_row(
            Text(setting.name),
            f"{setting.compute_ratio:.0%}",
            f"{setting.denoise_s:.2f}",
            show_speedup(setting.speedup, setting.beyond_bound),
            _mean(setting.psnr, 2),
            _interval(setting.psnr),
            _worst(setting.psnr, 2),
            _mean(setting.ssim, 4),
            _worst(setting.ssim, 4),
            *lpips,
            f"{setting.cache_bytes / 2**20:.2f} MiB" if setting.cache_bytes else "-",
        )
    return table


def _mean(spread: Spread | None, digits: int) -> str:
    return "-" if spread is None else f"{spread.mean:.{digits}f}"


def _worst(spread: Spread | None, digits: int) -> str:
    return "-" if spread is None else f"{spread.worst:.{digits}f}"


def _interval(spread: Spread | None) -> str:
    return "-" if spread is None or spread.low is None else f"{spread.low:.2f}-{spread.high:.2f}"
