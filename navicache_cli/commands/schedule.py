"""The options of `navicache schedule`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import OUTPUT, opt, takes_options
from navicache_cli.plan.option import Use

SEARCH = "What to search"


@takes_options(leaving_out=Use.CACHE | Use.MEASURED | Use.OUTPUT)
def schedule_command(
    speedup: Annotated[
        str, opt(SEARCH, "Budgets to find schedules for: all steps over computed steps.", "X,X")
    ] = "1.5,2,2.5",
    prompts: Annotated[
        Path | None,
        opt(
            SEARCH,
            "One prompt per line, each recorded once.  [default: --prompt, or four of the preset's examples]",
            "FILE",
        ),
    ] = None,
    keep_on_cpu: Annotated[
        bool, opt(SEARCH, "Keep recorded outputs in the CPU's memory.", None, "--keep-on-cpu")
    ] = False,
    output: Annotated[Path, opt(OUTPUT, "File for the schedules (.yaml).", "FILE", "--output", "-o")] = Path(
        "schedule.yaml"
    ),
    overwrite: Annotated[bool, opt(OUTPUT, "Replace an existing file.", None, "--overwrite")] = False,
    quiet: Annotated[bool, opt(OUTPUT, "Print only the path.", None, "--quiet", "-q")] = False,
    **options: Any,
) -> None:
    """Find which steps to compute: record uncached videos, search, and write schedules for budgets.

    Pass the file on with generate --schedule FILE --speedup X. The search itself takes seconds.
    """
    from navicache_cli.errors import UsageError
    from navicache_cli.plan.plan import build_plan
    from navicache_cli.run.schedule import Request, make_schedules

    if output.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(
            f"output expects a file ending in .yaml, found {str(output)[-60:]!r}", "-o schedule.yaml"
        )
    config, assignments = options.pop("config"), options.pop("assignments") or []
    enter_environment_of(options, assignments, config)
    plan = build_plan({**options, "mode": "off"}, assignments, config, dict(os.environ))
    make_schedules(plan, Request(speedup, prompts, keep_on_cpu, output, overwrite, quiet))
