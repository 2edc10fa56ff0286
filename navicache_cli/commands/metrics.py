"""The options of `navicache metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from navicache_cli.commands.flags import LPIPS_HELP
from navicache_cli.reading import expand_user


def metrics_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="A video, or a folder of videos: the reference.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The video, or the folder, to compare with it.")],
    lpips: Annotated[bool | None, typer.Option("--lpips/--no-lpips", help=LPIPS_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every frame's figures.")] = False,
) -> None:
    """Compare videos: PSNR, SSIM and LPIPS, per frame and in total.

    Two files, or two folders whose videos have the same names. Follows the convention of VideoSys's
    common metrics, which papers on caching report.
    """
    from navicache_cli.evaluation.metrics import metrics

    metrics(expand_user(a), expand_user(b), lpips, as_json)
