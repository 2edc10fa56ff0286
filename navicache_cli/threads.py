"""The CPU's threads: how many compute, and what they do while they wait for one another."""

from __future__ import annotations

import os


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait, unless OMP_WAIT_POLICY says otherwise.

    By default they spin for a while: on a core that another process needs too, they take it from the threads
    they wait for. To be called before torch is imported, whose OpenMP runtime reads the variable once.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def use_at_most(threads: int) -> None:
    """Compute with no more threads than a model gains from, unless OMP_NUM_THREADS says how many.

    Args:
        threads: from which on more make a generation no faster.
    """
    import torch

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(min(threads, torch.get_num_threads()))
