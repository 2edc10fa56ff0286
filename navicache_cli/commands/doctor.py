"""The options of `navicache doctor`."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor_command(
    model: Annotated[
        str, typer.Option(help="Check what this model needs.  [default: a summary of all]")
    ] = "",
    task: Annotated[str, typer.Option(help="Task of the model.  [default: the preset's]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is installed, what is missing, and how to fix it.

    Exit code 0 means that `generate` would start for the model (tiny without --model), 4 that only its
    weights are missing, 3 that something else is.
    """
    from navicache_cli.setup.doctor import doctor

    raise typer.Exit(doctor(model, task, as_json))
