"""VBench's scores against published tables, and the choice of dimensions."""

from __future__ import annotations

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.evaluation.dimensions import DIMENSIONS, add_up, choose_dimensions

# In percent: total, quality, semantic; then the dimensions in the order of DIMENSIONS.
# The first six: FlashVideo (arXiv 2502.05179), the table of VBench's leaderboard; the last two: the README of
# github.com/aejion/AccVideo, "VBench Results".
PUBLISHED = {
    "Vchitect(VEnhancer)": "82.24 83.54 77.06 96.83 96.66 98.57 98.98 63.89 60.41 65.35 "
    "86.61 68.84 97.20 87.04 57.55 56.57 23.73 25.01 27.57",
    "CogVideoX-1.5": "82.17 82.78 79.76 96.87 97.35 98.88 98.31 50.93 62.79 65.02 "
    "87.47 69.65 97.20 87.55 80.25 52.91 24.89 25.19 27.30",
    "CogVideoX-5B": "81.61 82.75 77.04 96.23 96.52 98.66 96.92 70.97 61.98 62.90 "
    "85.23 62.11 99.40 82.81 66.35 53.20 24.91 25.38 27.59",
    "CogVideoX-2B": "81.57 82.51 77.79 96.42 96.53 98.45 97.76 58.33 61.47 65.60 "
    "87.81 69.35 97.00 86.87 54.64 57.51 24.93 25.56 28.01",
    "Mochi-1": "80.13 82.64 70.08 96.99 97.28 99.40 99.02 61.85 56.94 60.64 "
    "86.51 50.47 94.60 79.73 69.24 36.99 20.33 23.65 25.15",
    "LTX-Video": "80.00 82.30 70.79 96.56 97.20 99.34 98.96 54.35 59.81 60.28 "
    "83.45 45.43 92.80 81.45 65.43 51.07 21.47 22.62 25.19",
    "AccVideo-HunyuanT2V": "83.26 84.58 77.96 94.46 97.45 99.18 98.79 75.00 62.08 65.64 "
    "92.99 67.33 95.60 94.11 75.70 54.72 19.87 23.71 27.21",
    "AccVideo-WanXT2V": "85.95 86.62 83.25 95.02 97.75 99.54 97.95 93.33 64.21 68.42 "
    "98.38 86.58 97.40 92.04 75.68 59.82 23.88 24.62 27.34",
}


def published(model: str) -> tuple[list[float], dict[str, float]]:
    figures = [float(figure) / 100 for figure in PUBLISHED[model].split()]
    return figures[:3], dict(zip(DIMENSIONS, figures[3:], strict=True))


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_totals_come_from_published_dimensions(model):
    """All figures are rounded to 0.01 %; what the inputs' rounding adds stays below that."""
    (total, quality, semantic), values = published(model)
    found = add_up(values)
    assert found.total == pytest.approx(total, abs=1e-4)
    assert found.quality == pytest.approx(quality, abs=1e-4)
    assert found.semantic == pytest.approx(semantic, abs=1e-4)


@pytest.mark.parametrize("missing", DIMENSIONS)
def test_a_missing_dimension_leaves_its_group_without_a_score(missing):
    _, values = published("Mochi-1")
    del values[missing]
    found = add_up(values)
    assert found.total is None
    assert [found.quality is None, found.semantic is None].count(True) == 1
    assert (found.quality is None) == (DIMENSIONS[missing].group == "quality")


def test_dimensions_are_chosen_in_the_order_of_vbench():
    assert choose_dimensions(None) == list(DIMENSIONS)
    assert len(DIMENSIONS) == 16
    assert choose_dimensions("scene, color subject_consistency") == ["subject_consistency", "color", "scene"]


@pytest.mark.parametrize(("text", "told"), [("colour", "did you mean color?"), (" , ", "found none")])
def test_unknown_dimensions_are_listed(text, told):
    with pytest.raises(UsageError) as caught:
        choose_dimensions(text)
    assert told in caught.value.message
    assert all(name in caught.value.message for name in DIMENSIONS)
