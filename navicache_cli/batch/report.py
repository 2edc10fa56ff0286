"""`navicache batch-report`: what a batch adds up to, as a table, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.batch.summary import (
    Distribution,
    SettingSummary,
    Summary,
    read_listed,
    summarise,
)
from navicache_cli.files import check_replaceable
from navicache_cli.media.metrics import FROM_FRAMES, LEADING, Metric
from navicache_cli.report.documents import document_text, write_document
from navicache_cli.report.speed import show_speedup

SHOWN = 3  # of the slowest, and so on; the page has more


def batch_report(folder: Path, page: bool = True, as_json: bool = False) -> None:
    """Write batch-report.json and index.html into a batch's folder, and show a table.

    Args:
        folder: the `--output-dir` of `navicache batch`.
        page: whether to write index.html.
        as_json: print the document and nothing else.

    Raises:
        OutputError: it is no such folder, nothing is finished in it, it cannot be written, or one of the two
            is there and is not ours.
    """
    written = [folder / "batch-report.json", *([folder / "index.html"] if page else [])]
    for path in written:
        check_replaceable(path)
    summary = summarise(folder)
    write_document(summary, written[0])
    if page:
        from navicache_cli.batch.page import write_page

        write_page(summary, read_listed(summary, folder), written[1])
    if as_json:
        print(document_text(summary), end="")
        return
    _show(summary)
    for path in written:
        terminal.show_path(path)


def _show(summary: Summary) -> None:
    for note in summary.notes:
        terminal.show_note(note)
    terminal.stdout.print(_settings_table(summary))
    by_name = {video.name: video for video in summary.videos}
    for title, names in (
        ("slowest", summary.slowest),
        (f"{'highest' if LEADING.less_is_better else 'lowest'} {LEADING.label}", summary.worst),
        ("most skipped", summary.most_skipped),
    ):
        for name in names[:SHOWN]:
            video = by_name[name]
            value = video.fidelity[LEADING.key]
            told = "" if value is None else f", {LEADING.say(value)}"
            facts = f"{video.denoise_s:.2f} s, {video.skip_ratio:.0%} skipped{told}"
            terminal.stdout.say(f"{title}: {video.video} ({facts})")
    for one in summary.failed[:SHOWN]:
        terminal.stdout.say(f"failed: {one.name}: {one.error}")
    if len(summary.failed) > SHOWN:
        terminal.stdout.print(f"{len(summary.failed) - SHOWN} more failed", highlight=False)


def _settings_table(summary: Summary) -> Table:
    # Narrow gaps and a floor for the names: the table fits into 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("setting", overflow="fold", min_width=16)
    metrics = [metric for metric in FROM_FRAMES.values() if metric.brief]
    labels = [label for one in metrics for label in (one.label, *(["worst"] if one is LEADING else []))]
    for heading in ("videos", "skipped", "least-most", "seconds", "speedup", *labels):
        table.add_column(heading, justify="right", no_wrap=True)
    for setting in summary.settings:
        skipped = setting.skip_ratio
        span = f"{skipped.least:.0%}-{skipped.most:.0%}" if skipped else "-"
        table.add_row(
            Text(setting.name),
            str(setting.videos),
            f"{skipped.mean:.0%}" if skipped else "-",
            span,
            _median(setting.denoise_s),
            _speedup(setting),
            *(text for metric in metrics for text in _figures(metric, setting.fidelity[metric.key])),
        )
    return table


def _speedup(setting: SettingSummary) -> str:
    found = setting.speedup
    return "-" if found is None else show_speedup(found.median, setting.beyond_bound > 0)


def _median(found: Distribution | None) -> str:
    return "-" if found is None else f"{found.median:.2f}"


def _figures(metric: Metric, found: Distribution | None) -> list[str]:
    """A metric's mean, and the worst of the leading one."""
    values = (found.mean, metric.worst([found.least, found.most])) if found else (None, None)
    return [metric.show(value) for value in (values if metric is LEADING else values[:1])]
