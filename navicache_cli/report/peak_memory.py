"""The most memory that one generation used."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import NamedTuple

RUN, PROCESS = "run", "process"
_PROC = Path("/proc/self")  # of Linux, see proc_pid_clear_refs(5) and proc_pid_status(5)


class Peak(NamedTuple):
    """The most bytes in use at once, 0 if unknown; of a RUN or, where only that is known, of its PROCESS."""

    bytes: int
    of: str


class PeakMemory:
    """Follows memory from its construction on: the GPU's where there is one, else this process's.

    Weights and whatever else is in memory already count.
    """

    def __init__(self) -> None:
        import torch

        self._gpu = torch.cuda.is_available()
        self._of = RUN
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            (_PROC / "clear_refs").write_text("5")
        except OSError:
            # Not everywhere can it begin anew; an earlier run may have used the most.
            self._of = PROCESS

    def read(self) -> Peak:
        """Return the most so far."""
        import torch

        return Peak(int(torch.cuda.max_memory_allocated()) if self._gpu else _most_resident(), self._of)


def gpu_gigabytes() -> float | None:
    """GiB of this process's GPU; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory) / 2**30


def _most_resident() -> int:
    try:
        # Not `ru_maxrss`, which on Linux begins with what the parent had when it forked.
        found = re.search(r"VmHWM:\s*(\d+) kB", (_PROC / "status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
