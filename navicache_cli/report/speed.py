"""How long a generation took, by two clocks, and how much faster that is than another.

On a GPU speedups are taken from the wall clock. On a CPU they are taken from the CPU time of this
process: other programs make a generation longer by the clock on the wall, and each one by another factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, field

from navicache_cli.report.documents import Amount, Part, one_of

if TYPE_CHECKING:
    from navicache_cli.report.report import Totals

WALL, CPU = "wall", "cpu"
# Between two generations: other programs slow down memory and caches for one more than for the other.
NOISE = 0.05
MARK = "*"
BEYOND = (
    f"{MARK} faster than the skipped work allows: something else disturbed the times, or another "
    "implementation's model is faster"
)
OF_CPU = "speedups are of the program's CPU time, which other programs do not lengthen"


class Timings(Part, frozen=True):
    """Wall-clock seconds of each stage of one generation; a run to compare it with is not part of it."""

    load: Amount
    text: Amount
    denoise: Amount
    decode: Amount
    write: Amount
    total: Annotated[Amount, Meta(description="of the stages above")]
    cpu: Annotated[
        dict[str, Amount], Meta(description="CPU time of this process by stage, all threads together")
    ] = field(default_factory=dict)
    clock: Annotated[
        str, one_of(WALL, CPU), Meta(description="what speedups are taken from; wall where it is absent")
    ] = WALL


def make_timings(
    seconds: Mapping[str, float], cpu_seconds: Mapping[str, float], load: float = 0.0, write: float = 0.0
) -> Timings:
    """Sum up the stages of one generation.

    Args:
        seconds: of the wall clock in the stages `text`, `denoise` and `decode`.
        cpu_seconds: CPU time in the same; empty where it was not taken.
        load, write: seconds before and after them.
    """
    stages = {name: seconds[name] for name in ("text", "denoise", "decode")}
    clock = _clock() if cpu_seconds.get("denoise") else WALL
    total = load + sum(stages.values()) + write
    return Timings(load=load, write=write, total=total, cpu=dict(cpu_seconds), clock=clock, **stages)


def _clock() -> str:
    import torch

    from navicache_cli.launch import read_launch

    # A GPU works while this process waits, and several processes share one generation.
    return WALL if torch.cuda.is_available() or read_launch().world_size > 1 else CPU


def speedup(uncached: Timings, cached: Timings) -> float:
    """Amount of denoising of the one over those of the other, by the clock that both have."""
    if uncached.clock == cached.clock == CPU:
        return uncached.cpu["denoise"] / cached.cpu["denoise"]
    return uncached.denoise / cached.denoise


def skip_bound(totals: Totals) -> float | None:
    """What skipped steps alone allow; None where parts of steps were skipped too."""
    return None if totals.attention_calls_saved else totals.speedup_bound


def beyond_bound(measured: float | None, bound: float | None) -> bool:
    """Whether a speedup is above its bound by more than noise, and must not be shown without a MARK.

    Args:
        measured: the speedup; None where there is none.
        bound: what the skipped work allows; None where that is not known.
    """
    return measured is not None and bound is not None and measured > bound * (1 + NOISE)


def show_speedup(measured: float, beyond: bool) -> str:
    """A speedup as tables have it, with its MARK where it is beyond its bound."""
    return f"{measured:.2f}x{MARK if beyond else ''}"


def speed_notes(clocks: Iterable[str | None], beyond: bool) -> list[str]:
    """What a reader of several speedups should know.

    Args:
        clocks: that they were taken from; None where a report does not say.
        beyond: whether one of them has a MARK.
    """
    return [*([OF_CPU] if CPU in clocks else []), *([BEYOND] if beyond else [])]
