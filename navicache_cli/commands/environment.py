"""Commands that need a family's packages go on in its environment, if `setup --venv` made one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def enter_environment_of(flags: dict[str, Any], assignments: list[str], config: Path | None) -> None:
    """Go on in the environment of the model that the options choose.

    Raises:
        OtherPython: there is one, and it is not this Python.
        UsageError: the options cannot be read.
    """
    from backends.official.environments import any_environment, enter_environment

    if not any_environment():
        return
    from navicache_cli.plan.choices import pick
    from navicache_cli.plan.layers import option_layers
    from navicache_cli.plan.options import BUILT_IN

    layers = option_layers(flags, assignments, config, dict(os.environ))
    enter_environment(pick("model", BUILT_IN["model"], layers))
