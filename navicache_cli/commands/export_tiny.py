"""`navicache export-tiny`: the included model as a folder that diffusers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from navicache_cli.reading import expand_user


def export_tiny_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; a new one.")],
    weights: Annotated[
        str, typer.Option(metavar="DIR", help="Weights you trained.  [default: those included]")
    ] = "",
) -> None:
    """Write tiny as a folder that diffusers' WanPipeline loads.

    The folder's README.md shows how. Needs the packages of: pip install "navicache[diffusers]".
    """
    from backends.tiny.export import check_export, export
    from navicache_cli import terminal

    folder = expand_user(folder)
    check_export(folder)

    from backends.tiny.backend import TinyPipeline, shipped_weights

    export(TinyPipeline(expand_user(weights) if weights else shipped_weights(), device="cpu"), folder)
    terminal.show_path(folder)
