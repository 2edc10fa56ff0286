"""The options of `navicache calibrate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import Switch, Text
from navicache_cli.errors import UsageError
from navicache_cli.reading import expand_user


def calibrate_command(
    model: Annotated[Text, typer.Option(help="Model family.  [default: tiny]")] = None,
    task: Annotated[Text, typer.Option(help="Task of the model, such as t2v-1.3B.")] = None,
    prompt: Annotated[
        Text, typer.Option(help="What the video shows.  [default: the preset's example]")
    ] = None,
    steps: Annotated[Text, typer.Option(help="Denoising steps.", metavar="N")] = None,
    seed: Annotated[Text, typer.Option(help="Seed of the noise.", metavar="N")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the ratios (.json).", metavar="FILE")
    ] = Path("ratios.json"),
    overwrite: Annotated[Switch, typer.Option("--overwrite", help="Replace an existing file.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set any option of generate; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path.")] = False,
) -> None:
    """Measure the magnitude ratios that --method magcache needs, for a model that has none.

    Generates one video with every step computed. Pass the file on with generate --set ratios=FILE.
    """
    from navicache_cli.plan.plan import build_plan
    from navicache_cli.run.calibrate import calibrate

    if output.suffix.lower() != ".json":
        raise UsageError(
            f"output expects a file ending in .json, found {str(output)[-60:]!r}", "-o ratios.json"
        )
    flags = {"model": model, "task": task, "prompt": prompt, "steps": steps, "seed": seed}
    enter_environment_of(flags, assignments or [], None)
    plan = build_plan(
        {**flags, "overwrite": overwrite, "mode": "off"}, assignments or [], None, dict(os.environ)
    )
    calibrate(plan, expand_user(output), quiet)
