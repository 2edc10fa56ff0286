"""The options of `navicache replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay_command(
    recordings: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="Reports of generate --mode off --trajectory.")
    ],
    method: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Caching methods.  [default: navicache]")
    ] = "",
    threshold: Annotated[
        str, typer.Option(metavar="X,X", help="Thresholds.  [default: those of the model's modes]")
    ] = "",
    align_steps: Annotated[
        int | None, typer.Option(metavar="N", help="First steps always computed.  [default: the recording's]")
    ] = None,
    estimator: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="scalar, dual.  [default: the recording's]")
    ] = "",
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD.threshold=LOW:HIGH:COUNT",
            help="Sweep the thresholds of one method, or of each with the word method; may be repeated.",
        ),
    ] = None,
    compute: Annotated[
        str,
        typer.Option(metavar="X,X", help="Budgets instead of thresholds: shares of steps to compute."),
    ] = "",
    speedup: Annotated[str, typer.Option(metavar="X,X", help="Budgets, as steps over computed steps.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print every decision as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Draw the compute ratio over the threshold, and the thresholds of budgets, .png or .svg.",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on a dark background.")] = False,
) -> None:
    """Show what other methods and thresholds would have decided on a recorded generation.

    Loads no model. Decisions match a real run up to its first skipped step. After that, a real run's latents
    differ by what the prediction misses, and a decision near the threshold may turn out differently.
    """
    from navicache_cli.replay.replay import replay

    replay(
        recordings, method, threshold, align_steps, estimator, sweep or [], compute, speedup, as_json, output,
        dark,
    )  # fmt: skip
