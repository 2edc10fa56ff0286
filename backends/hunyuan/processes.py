"""Checks `--ulysses` and `--ring`, the official sequence parallelism by xDiT, before anything is loaded."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from navicache_cli.errors import BackendError, UsageError

from .tasks import TOKEN_PIXELS

if TYPE_CHECKING:
    from navicache_cli.plan import Plan


def check_processes(plan: Plan) -> None:
    """Check that the processes torchrun started are those the options ask for, and can share the work.

    Raises:
        BackendError: several are asked for, and a package they need is not there.
        UsageError: their number is another, the size cannot be split among them, or an option excludes them.
    """
    expected, found = plan.ulysses * plan.ring, os.environ.get("WORLD_SIZE", "1")
    if found != str(expected):
        raise UsageError(
            f"ulysses {plan.ulysses} times ring {plan.ring} expects {expected} "
            f"process{'es' if expected > 1 else ''} started by torchrun, found {found}",
            f"torchrun --nproc-per-node {expected} -m navicache_cli generate …, or --ulysses {found} --ring 1"
            if expected > 1
            else f"--ulysses {found}, or start navicache without torchrun",
        )
    if expected == 1:
        return
    if plan.offload:
        raise UsageError(
            "the official code cannot offload with several GPUs, found --offload with "
            f"--ulysses {plan.ulysses} --ring {plan.ring}",
            "drop --offload",
        )
    # The official forward is split by rows of tokens, or else by columns.
    if all(pixels // TOKEN_PIXELS % expected for pixels in (plan.height, plan.width)):
        raise UsageError(
            f"size {plan.size} expects a number of processes that divides {plan.width // TOKEN_PIXELS} or "
            f"{plan.height // TOKEN_PIXELS}, found {expected}",
            "choose another --size, --ulysses or --ring",
        )
    missing = [name for name in ("xfuser", "flash_attn") if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"several GPUs expect the packages xfuser and flash_attn, found no {' and no '.join(missing)}",
            "pip install xfuser==0.4.0 flash-attn, or use one GPU",
        )
