"""Whether as many processes run as a plan shares its work among."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError
from navicache_cli.plan.presets import preset_for

if TYPE_CHECKING:
    from navicache_cli.launch import Launch
    from navicache_cli.plan.plan import Plan


def check_processes(plan: Plan, launch: Launch) -> None:
    """Check that as many processes run as the plan shares its work among.

    Raises:
        UsageError: naming the command to type.
    """
    needed = plan.ulysses * plan.ring
    found = f"{launch.world_size} process{'es' if launch.world_size > 1 else ''}"
    if "ulysses" not in preset_for(plan.model).takes and launch.world_size > 1:
        raise UsageError(
            f"{plan.model} expects one process, found {found}: they would all make the same video",
            "run navicache without torchrun",
        )
    if needed != launch.world_size:
        raise UsageError(
            f"ulysses {plan.ulysses} times ring {plan.ring} expects {needed} process"
            f"{'es' if needed > 1 else ''}, found {found}",
            torchrun(plan) if needed > 1 else f"--ulysses {launch.world_size}",
        )
    if plan.fsdp and needed == 1:
        raise UsageError(
            f"fsdp expects several processes to share the weights among, found {found}",
            "torchrun --nproc-per-node 2 --no-python navicache generate --fsdp --ulysses 2 …",
        )


def torchrun(plan: Plan) -> str:
    """Return the command that starts the processes a plan needs on one machine."""
    shared = [f"--{name} {value}" for name, value in (("ulysses", plan.ulysses), ("ring", plan.ring))]
    count = plan.ulysses * plan.ring
    return f"torchrun --nproc-per-node {count} --no-python navicache generate {' '.join(shared)} …"
