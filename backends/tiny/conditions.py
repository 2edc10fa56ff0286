"""Conditions under which `tiny` judges caches, by name.

How hard a cache has it depends on the noise schedule and on guidance. A large shift spends most steps where
almost nothing changes, and guidance multiplies the difference of two branches with all its errors. What each
condition is for, and why the main table is taken under `MAIN`: docs/comparing.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Condition:
    """What a comparison holds fixed; everything else is the preset's.

    Attributes:
        shift: of the noise schedule.
        guidance: scale of classifier-free guidance.
        steps: of the uncached video.
        solver: sampler.
    """

    shift: float
    guidance: float
    steps: int = 50
    solver: str = "unipc"

    @property
    def options(self) -> dict[str, Any]:
        """The options of a plan it sets."""
        return {
            "shift": self.shift,
            "guidance": self.guidance,
            "steps": self.steps,
            "solver": self.solver,
        }

    @property
    def name(self) -> str:
        """Shift and guidance, and steps and solver unless they are the preset's: "5-4", "1-8-30-dpm++"."""
        parts = [f"{self.shift:g}", f"{self.guidance:g}"]
        if self.steps != 50:
            parts.append(str(self.steps))
        if self.solver != "unipc":
            parts.append(self.solver)
        return "-".join(parts)


PRESET = Condition(5, 4)
MAIN = Condition(1, 12)
_ALL = (
    PRESET,
    Condition(2, 6),
    Condition(3, 6),
    Condition(1, 8),
    Condition(3, 10),
    MAIN,
    Condition(1, 4),
    Condition(0.25, 4),
    *(Condition(one.shift, one.guidance, solver="dpm++") for one in (PRESET, Condition(1, 8), MAIN)),
    *(Condition(one.shift, one.guidance, steps=30) for one in (PRESET, Condition(0.25, 4), MAIN)),
    *(Condition(one.shift, one.guidance, 30, "dpm++") for one in (PRESET, MAIN)),
)
CONDITIONS = {condition.name: condition for condition in _ALL}
