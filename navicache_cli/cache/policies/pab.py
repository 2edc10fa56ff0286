"""Pyramid attention broadcast (ICLR 2025, arXiv 2408.12588): attention outputs are used for several steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from navicache_cli.cache.policies.policy import Decision, Region, Signal, Unmeasured, check_count
from navicache_cli.cache.policies.settings import setting
from navicache_cli.errors import UsageError
from navicache_cli.values import read_numbers, read_whole_numbers


def _read_window(value: Any) -> str:
    text = read_numbers(value)
    if len(text.split()) != 2:
        raise ValueError("two timesteps")
    return text


def _window(text: str) -> tuple[float, float]:
    low, high = text.split()
    return float(low), float(high)


def _ranges(text: str) -> dict[str, int]:
    pairs = (item.partition("=") for item in text.split())
    return {kind: int(count) for kind, _, count in pairs}


@dataclass(frozen=True)
class PabSettings:
    """What it takes of a plan; see `PyramidAttentionBroadcast`.

    Attributes:
        broadcast: `kind=range` items with spaces between.
        window: lower and upper timestep with a space between.
    """

    broadcast: str = setting("", read_whole_numbers, "'self=2 cross=6'", _ranges)
    window: str = setting("100 800", _read_window, "'100 800'", _window)


class PyramidAttentionBroadcast(Unmeasured):
    """Every step runs the model, but inside a window of timesteps an attention only at every n-th step.

    Attention of a kind with range n is run at step i when n divides i or the timestep is not inside
    the window (borders excluded), else its output of the last time is used. From VideoSys
    (videosys/core/pab/pab_mgr.py and pipelines/open_sora/pipeline_open_sora.py at 4cce477); its broadcast of
    feed-forwards at single, model-specific timesteps is left out, as in `diffusers/hooks`. As in diffusers
    the output of the attention itself is kept, before its gate.

    Args:
        broadcast: kind of attention to its range n; 1, or a kind left out, always runs.
        window: lower and upper timestep.

    Raises:
        UsageError: a range is below 1, or the window is empty.
    """

    name = "pab"
    caches = False
    region = Region.ATTENTION
    signal = Signal.TIMESTEP

    def __init__(
        self, broadcast: Mapping[str, int] | None = None, window: tuple[float, float] = (100, 800)
    ) -> None:
        self.broadcast = dict(broadcast or {})
        for kind, count in self.broadcast.items():
            check_count(count, f"the range of {kind}", 1, hint="broadcast='self=2 cross=6'")
        if not window[0] < window[1]:
            raise UsageError(
                f"expected a window from a lower to a higher timestep, found {window[0]:g} to {window[1]:g}",
                hint="window='100 800'",
            )
        self.window = window
        self._entered = False

    def begin(self, total_steps: int) -> None:
        """See `Policy`."""
        self._entered = False

    def decide(self, index: int, timestep: float | None) -> Decision:
        """Decide which kinds of attention step `index`, at `timestep`, uses again."""
        # Whole timesteps are compared, as there.
        inside = timestep is not None and self.window[0] < int(timestep) < self.window[1]
        reuse = tuple(kind for kind, count in self.broadcast.items() if inside and index % count != 0)
        # The next step runs a kind whose range divides its number, and after the window every step does.
        left = self._entered and not inside
        keep = () if left else tuple(kind for kind, count in self.broadcast.items() if (index + 1) % count)
        self._entered = self._entered or inside
        return Decision(compute=True, reuse=reuse, keep=keep)
