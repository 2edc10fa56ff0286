"""The options of `navicache generate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import Text, opt, takes_options
from navicache_cli.errors import UsageError
from navicache_cli.plan.options import OUTPUT, WHAT


@takes_options(after={"prompt": ["prompt_file"], "assignments": ["dry_run", "as_json", "quiet"]})
def generate_command(
    prompt_file: Annotated[
        Text, opt(WHAT, "Read the prompt from a file; - is standard input.", "FILE")
    ] = None,
    dry_run: Annotated[bool, opt(OUTPUT, "Show the resolved plan and stop.", None, "--dry-run")] = False,
    as_json: Annotated[bool, opt(OUTPUT, "Print only the report, as JSON.", None, "--json")] = False,
    quiet: Annotated[bool, opt(OUTPUT, "Print only the video's path.", None, "--quiet", "-q")] = False,
    **options: Any,
) -> None:
    """Generate a video and a report of what was skipped.

    Every option has a default: preset < --config < environment NAVICACHE_<OPTION> < flags.
    """
    from navicache_cli.plan.plan import build_plan
    from navicache_cli.run.generate import generate, read_prompt

    config, assignments = options.pop("config"), options.pop("assignments") or []
    enter_environment_of(options, assignments, config)
    if prompt_file is not None:
        if options["prompt"] is not None:
            raise UsageError(
                "both --prompt and --prompt-file were given, one was expected", "drop one of them"
            )
        options["prompt"] = read_prompt(prompt_file)
    inputs = [Path(file) for file in (config, prompt_file) if file is not None]
    plan = build_plan(options, assignments, config, dict(os.environ))
    generate(plan, inputs=inputs, dry_run=dry_run, as_json=as_json, quiet=quiet)
