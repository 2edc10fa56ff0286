"""Checks `--ulysses` and `--ring`, the official sequence parallelism by xDiT, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.hunyuan.tasks import HEADS, HUNYUAN, SMALL_HEADS, TOKEN_PIXELS
from backends.official.distributed import check_heads, check_sequence_parallel
from backends.official.official import SMALL
from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan


def check_sharing(plan: Plan) -> None:
    """Check that several processes can share the work; that they run is checked for all families.

    Raises:
        BackendError: a package they need is not there.
        UsageError: size or heads cannot be split among them, or an option excludes them.
    """
    expected = plan.ulysses * plan.ring
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
    heads = SMALL_HEADS if plan.weights == SMALL else HEADS
    check_heads(plan, heads, HUNYUAN.title)
    check_sequence_parallel(plan)
