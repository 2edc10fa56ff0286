"""What the official repositories that share one video among GPUs by xDiT have in common.

Sources: Wan-Video/Wan2.1 generate.py at 9737cba; xdit-project/xDiT, xfuser.core.distributed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from navicache_cli.errors import BackendError, UsageError
from navicache_cli.launch import join_processes, read_launch

if TYPE_CHECKING:
    import torch

    from navicache_cli.plan.plan import Plan


def check_sequence_parallel(plan: Plan) -> None:
    """Check, before anything is loaded, that the packages which share sequences are there if they are needed.

    On GPUs xfuser calls flash-attn, where PyTorch's attention cannot take its place.

    Raises:
        BackendError: one is not there.
    """
    import torch

    if plan.ulysses * plan.ring == 1:
        return
    needed = ["xfuser", "flash_attn"] if torch.cuda.is_available() else ["xfuser"]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"ulysses {plan.ulysses} times ring {plan.ring} expects {' and '.join(needed)} installed, "
            f"found no {' and no '.join(missing)}",
            f"pip install {' '.join(missing).replace('_', '-')}, or use one GPU",
        )


def check_heads(plan: Plan, heads: int, model: str) -> None:
    """Check that attention heads can be dealt out evenly, as the official code demands.

    Args:
        plan: says among how many processes.
        heads: of the transformer.
        model: name for people.

    Raises:
        UsageError: they cannot.
    """
    if heads % plan.ulysses:
        fitting = ", ".join(str(count) for count in range(2, heads + 1) if heads % count == 0)
        raise UsageError(
            f"ulysses expects a divisor of the {heads} attention heads of {model}, found {plan.ulysses} "
            f"({plan.provenance['ulysses']})",
            f"choose --ulysses of {fitting}, or share by parts: --ring {plan.ulysses}",
        )


def local_gpu() -> torch.device:
    """Make this process's GPU the current one and return it: the current one already if it is alone.

    Raises:
        BackendError: this machine has fewer GPUs than processes.
    """
    import torch

    launch = read_launch()
    if launch.world_size == 1:
        return torch.device("cuda", torch.cuda.current_device())
    count = torch.cuda.device_count()
    if launch.local_rank >= count:
        raise BackendError(
            f"expected a GPU for each process, found {count} on this machine for process {launch.local_rank}",
            f"torchrun --nproc-per-node {count}, and --ulysses and --ring whose product is that number",
        )
    torch.cuda.set_device(launch.local_rank)
    return torch.device("cuda", launch.local_rank)


def start_sequence_parallel(plan: Plan, device: torch.device) -> None:
    """Connect the processes and tell xfuser how they share a sequence; one process needs neither.

    Args:
        plan: `ulysses` processes share by heads, times `ring` that share by parts.
        device: of this process.
    """
    launch = read_launch()
    join_processes(launch, device)
    if launch.world_size > 1:
        from xfuser.core.distributed import init_distributed_environment, initialize_model_parallel

        init_distributed_environment(rank=launch.rank, world_size=launch.world_size)
        initialize_model_parallel(
            sequence_parallel_degree=launch.world_size, ring_degree=plan.ring, ulysses_degree=plan.ulysses
        )
