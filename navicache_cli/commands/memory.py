"""The options of `navicache memory`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from navicache_cli.commands.flags import opt, takes_options
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import OUTPUT


@takes_options(
    leaving_out=Use.SUBJECT | Use.OUTPUT | Use.MEASURED | Use.PARALLEL,
    names=("fps", "weights", "repo", "revision"),
    after={"assignments": ["gpu_memory", "as_json"]},
)
def memory_command(
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            help="GiB of the GPU to fit in.  [default: this machine's]",
            metavar="GIB",
            rich_help_panel=OUTPUT,
            min=0,
        ),
    ] = None,
    as_json: Annotated[bool, opt(OUTPUT, "Print JSON.", None, "--json")] = False,
    **options: Any,
) -> None:
    """Estimate how much GPU memory a generation takes, and what would take less.

    Needs no GPU and no weights: it knows what the official code takes at each size.
    """
    from navicache_cli.setup.memory import show_memory

    config, assignments = options.pop("config"), options.pop("assignments") or []
    show_memory(options, assignments, config, dict(os.environ), gpu_memory, as_json)
