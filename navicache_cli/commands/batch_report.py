"""The options of `navicache batch-report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from navicache_cli.reading import expand_user


def batch_report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --output-dir of the batch.")],
    page: Annotated[bool, typer.Option("--page/--no-page", help="Also write index.html.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print only batch-report.json.")] = False,
) -> None:
    """Sum up a batch, finished or not: skip ratios, speedup, fidelity, skips per step, videos to look at.

    Writes batch-report.json and a page into the folder. Speedup, PSNR and SSIM need videos made
    with --baseline.
    """
    from navicache_cli.batch.report import batch_report

    batch_report(expand_user(folder), page, as_json)
