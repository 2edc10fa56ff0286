"""What `generate` shows of a plan and of a finished generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from navicache_cli import terminal
from navicache_cli.media.metrics import METRICS
from navicache_cli.report.report import NOT_PREDICTED
from navicache_cli.report.speed import BEYOND, CPU, beyond_bound, show_speedup, skip_bound
from navicache_cli.streams import visible

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import Report


def plan_table(plan: Plan) -> Table:
    """Tabulate a plan: option, value, and where the value came from."""
    table = Table(title="plan", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("option", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", style="dim", overflow="fold")
    for option, value in plan.values().items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value) or "-"
        table.add_row(option.replace("_", "-"), visible(shown), visible(plan.provenance[option]))
    return table


def show_summary(report: Report) -> None:
    """Sum up a finished generation in a few rows; the path comes last, unbroken, to be copied."""
    terminal.stdout.print(_summary_table(report))
    terminal.show_path(report.output.path)


def _summary_table(report: Report) -> Table:
    totals, times, threads = report.totals, report.timings_s, report.machine.threads
    bound = skip_bound(totals)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("steps", terminal.strip([step.computed for step in report.steps], terminal.stdout))
    schedule = report.plan["schedule"].value if "schedule" in report.plan else ""
    if schedule:
        table.add_row("schedule", visible(str(schedule)))
    table.add_row(
        "skipped",
        f"{totals.skipped_steps} of {totals.steps} ({totals.skip_ratio:.0%})"
        + ("" if bound is None else f", at most {bound:.2f}x faster"),
    )
    if totals.predicted_error and totals.skipped_steps:
        bar = totals.predicted_error
        table.add_row(
            "error",
            f"{bar.relative:.1%} of the latents (predicted), {bar.low:.1%} to {bar.high:.1%} "
            f"in {bar.confidence:.0%} of cases",
        )
    for note in report.notes:
        if note.startswith(NOT_PREDICTED):
            table.add_row("error", f"not predicted: {note.removeprefix(NOT_PREDICTED)}")
    if totals.attention_calls_saved:
        outputs = totals.attention_calls + totals.attention_calls_saved
        table.add_row("attention", f"{totals.attention_calls_saved} of {outputs} outputs reused")
    denoising = _seconds(times.denoise, times.cpu.get("denoise", 0.0), times.clock)
    on = f"{threads} thread{'s' if threads > 1 else ''}"
    table.add_row("denoising", f"{denoising} of {times.total:.2f} s in all, {on}")
    if report.baseline:
        base = report.baseline
        told = [METRICS[key].say(value) for key, value in base.fidelity.items() if METRICS[key].brief]
        beyond = beyond_bound(base.speedup, bound)
        table.add_row(
            "uncached",
            f"{_seconds(base.denoise_s, base.denoise_cpu_s, times.clock)}: "
            f"{show_speedup(base.speedup, beyond)} faster, {', '.join(told)}",
        )
        if beyond:
            table.add_row("", BEYOND)
    table.add_row("cache", f"{totals.cache_bytes / 2**20:.2f} MiB")
    return table


def _seconds(wall: float, cpu: float, clock: str) -> str:
    """Seconds by the wall clock and, where speedups are taken from it, of CPU time."""
    return f"{wall:.2f} s (CPU {cpu:.2f} s)" if clock == CPU else f"{wall:.2f} s"
