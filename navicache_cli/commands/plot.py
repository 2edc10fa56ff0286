"""The options of `navicache plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT...", help="Reports of generate (.json), or one CSV of measured changes."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture, .png or .svg.  [default: next to the first report]",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on a dark background.")] = False,
) -> None:
    """Draw reports: steps, error against threshold, ratio with its ±2σ, innovations.

    Several reports: skip frequency and compute ratio per step. A CSV with the columns prompt, step,
    input_rel_l1 and output_rel_l1: how well each estimator predicts the output's change.
    """
    from navicache_cli.plots.plot import plot

    plot(sources, output, dark)
