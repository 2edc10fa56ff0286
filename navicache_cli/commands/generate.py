"""The options of `navicache generate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from navicache_cli.commands.flags import generate_options
from navicache_cli.commands.shared_options import takes_options_of
from navicache_cli.errors import UsageError


@takes_options_of(generate_options, leaving_out=())
def generate_command(**options: Any) -> None:
    """Generate a video and a report of what was skipped.

    Every option has a default: preset < --config < environment NAVICACHE_<OPTION> < flags.
    """
    from navicache_cli.plan.plan import build_plan
    from navicache_cli.run.generate import generate, read_prompt

    show = {name: options.pop(name) for name in ("dry_run", "as_json", "quiet")}
    config, assignments, prompt_file = (
        options.pop(name) for name in ("config", "assignments", "prompt_file")
    )
    if prompt_file is not None:
        if options["prompt"] is not None:
            raise UsageError(
                "both --prompt and --prompt-file were given, one was expected", "drop one of them"
            )
        options["prompt"] = read_prompt(prompt_file)
    inputs = [Path(file) for file in (config, prompt_file) if file is not None]
    generate(build_plan(options, assignments or [], config, dict(os.environ)), inputs=inputs, **show)
