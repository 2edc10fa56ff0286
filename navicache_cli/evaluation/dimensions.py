"""VBench's sixteen dimensions, and the quality, semantic and total scores they add up to.

Ranges, weights and groups are those of the official scripts: github.com/Vchitect/VBench at 7975661,
scripts/constant.py and scripts/cal_final_score.py. A dimension's value is mapped from its range to [0, 1],
not cut off there; a group's score is the weighted mean of its dimensions; the total is
(4 quality + semantic) / 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from navicache_cli.errors import UsageError
from navicache_cli.plan.presets import unknown
from navicache_cli.report.documents import Part

QUALITY, SEMANTIC = "quality", "semantic"
_GROUP_WEIGHTS = {QUALITY: 4.0, SEMANTIC: 1.0}


@dataclass(frozen=True)
class Dimension:
    """One of VBench's dimensions.

    Attributes:
        name: as the package `vbench` has it.
        group: QUALITY or SEMANTIC.
        least, most: the range that is mapped to [0, 1].
        weight: among those of its group.
    """

    name: str
    group: str
    least: float = 0.0
    most: float = 1.0
    weight: float = 1.0

    def normalise(self, value: float) -> float:
        """Map a value of the range to [0, 1]; others fall outside."""
        return (value - self.least) / (self.most - self.least)


class Totals(Part, frozen=True):
    """Weighted means of the normalised scores, about 0 to 1; null where a dimension is missing."""

    quality: float | None
    semantic: float | None
    total: float | None


DIMENSIONS = {
    dimension.name: dimension
    for dimension in (
        Dimension("subject_consistency", QUALITY, 0.1462),
        Dimension("background_consistency", QUALITY, 0.2615),
        Dimension("temporal_flickering", QUALITY, 0.6293),
        Dimension("motion_smoothness", QUALITY, 0.706, 0.9975),
        Dimension("dynamic_degree", QUALITY, weight=0.5),
        Dimension("aesthetic_quality", QUALITY),
        Dimension("imaging_quality", QUALITY),
        Dimension("object_class", SEMANTIC),
        Dimension("multiple_objects", SEMANTIC),
        Dimension("human_action", SEMANTIC),
        Dimension("color", SEMANTIC),
        Dimension("spatial_relationship", SEMANTIC),
        Dimension("scene", SEMANTIC, most=0.8222),
        Dimension("appearance_style", SEMANTIC, 0.0009, 0.2855),
        Dimension("temporal_style", SEMANTIC, most=0.364),
        Dimension("overall_consistency", SEMANTIC, most=0.364),
    )
}


def choose_dimensions(text: str | None) -> list[str]:
    """Read names with commas or spaces between, in VBench's order; nothing is all of them.

    Raises:
        UsageError: one is not known, or there is none.
    """
    if text is None:
        return list(DIMENSIONS)
    names = text.replace(",", " ").split()
    for name in names:
        if name not in DIMENSIONS:
            raise UsageError(unknown("dimension", name, DIMENSIONS), "--dimensions color,scene")
    if not names:
        raise UsageError(
            f"expected dimensions, found none; there are {', '.join(DIMENSIONS)}", "--dimensions color,scene"
        )
    return [name for name in DIMENSIONS if name in names]


def add_up(values: Mapping[str, float]) -> Totals:
    """Return the scores that values by dimension add up to.

    The official script counts a missing dimension as 0; here the group then has no score.
    """
    quality, semantic = _group_score(values, QUALITY), _group_score(values, SEMANTIC)
    total = None
    if quality is not None and semantic is not None:
        weights = _GROUP_WEIGHTS
        total = (weights[QUALITY] * quality + weights[SEMANTIC] * semantic) / sum(weights.values())
    return Totals(quality, semantic, total)


def _group_score(values: Mapping[str, float], group: str) -> float | None:
    members = [dimension for dimension in DIMENSIONS.values() if dimension.group == group]
    if any(dimension.name not in values for dimension in members):
        return None
    weighted = sum(dimension.weight * dimension.normalise(values[dimension.name]) for dimension in members)
    return weighted / sum(dimension.weight for dimension in members)
