"""The options of `navicache eval common`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from navicache_cli.commands.flags import LPIPS_HELP
from navicache_cli.reading import expand_user


def eval_common_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of the reference videos.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of videos with the same names.")],
    lpips: Annotated[bool | None, typer.Option("--lpips/--no-lpips", help=LPIPS_HELP)] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Also write index.html.")] = True,
    output_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results; pairs already measured are kept.")
    ] = Path("common-metrics"),
    as_json: Annotated[bool, typer.Option("--json", help="Print only common_metrics.json.")] = False,
) -> None:
    """PSNR, SSIM and LPIPS of two folders, in the convention of VideoSys's common metrics, with a page.

    Like `metrics`, for many videos. You can stop it at any time: the same command resumes.
    """
    from navicache_cli.evaluation.common import eval_common

    eval_common(expand_user(a), expand_user(b), expand_user(output_dir), lpips, page=page, as_json=as_json)
