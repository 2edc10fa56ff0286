"""Several processes on one video, as torchrun starts them: which one this is, and how all take one decision.

Only the first process writes files, shows progress and prints results. An error on another one ends that
process; torchrun then stops the rest, which would wait for it for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


@dataclass(frozen=True)
class Launch:
    """This process among those started together.

    Attributes:
        rank: 0 … world_size − 1.
        local_rank: the same on this machine: which of its GPUs to use.
        world_size: how many were started, on all machines.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Read what torchrun and its like tell a process; one process unless all their variables are set.

    Clusters set some of these for machines, not for processes; LOCAL_RANK is set by process launchers alone.

    Raises:
        UsageError: a variable is not a number, or the numbers make no sense.
    """
    values = os.environ if environment is None else environment
    if not all(values.get(name) for name in VARIABLES):
        return Launch()
    found = ", ".join(f"{name}={values[name][:20]}" for name in VARIABLES)
    hint = "start several processes by torchrun, or unset these variables"
    try:
        launch = Launch(*(int(values[name]) for name in VARIABLES))
    except ValueError:
        raise UsageError(f"expected numbers from the process launcher, found {found}", hint) from None
    if not 0 <= launch.local_rank <= launch.rank < launch.world_size:
        raise UsageError(f"expected 0 <= LOCAL_RANK <= RANK < WORLD_SIZE, found {found}", hint)
    return launch


def process_name() -> str:
    """Return what an error of this process starts with: "" for the first, or a number where there are others.

    Errors are the one thing every process shows: the first may be waiting for the one that failed.
    """
    rank = os.environ.get("RANK", "0")
    several = all(os.environ.get(name) for name in VARIABLES) and rank != "0"
    return f"process {rank[:20]}: " if several else ""


def join_processes(launch: Launch, device: torch.device) -> None:
    """Connect with the other processes, unless there are none or the official code has done it.

    Args:
        launch: this process.
        device: where the model runs; tensors there are what is exchanged.
    """
    import torch.distributed as dist

    if launch.world_size > 1 and not dist.is_initialized():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", rank=launch.rank, world_size=launch.world_size
        )


def leave_processes() -> None:
    """Disconnect after the last generation; not after an error, when others may still wait in an exchange."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def agreement() -> Callable[[torch.Tensor], None] | None:
    """Return what gives every process the first one's measurements; None where there is one process.

    Policies are arithmetic on these numbers alone, so with the same numbers all processes hold the same
    state, decide alike and log the same reasons. Sending only the decision would keep states apart and need
    a second wait for the device; this is one broadcast a step, queued before the wait there is anyway.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None

    def agree(numbers: torch.Tensor) -> None:
        dist.broadcast(numbers, src=0)

    return agree
