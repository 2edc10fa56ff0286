"""The options of `navicache presets` and `navicache models`."""

from __future__ import annotations

from typing import Annotated

import typer


def presets_command(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the cache settings of every mode."""
    from navicache_cli.setup.listing import show_presets

    show_presets(model, as_json)


def models_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the model families, their tasks and sizes, and whether they can run here."""
    from navicache_cli.setup.listing import show_models

    show_models(as_json)
