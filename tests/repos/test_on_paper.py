"""The official code on the GPU on paper: full width and full size, two blocks deep; see conftest.py."""

from __future__ import annotations

import pytest

from tests.on_paper import assert_sound, name_of, run_on_paper, settings_of
from tests.repos.checkouts import checkout_of

# Family, variable of the checkout, task, and tokens: latent frames × rows × columns (× branches in one call).
FAMILIES = [
    ("wan", "NAVICACHE_WAN_REPO", "t2v-14B", 21 * 45 * 80),
    ("hunyuan", "NAVICACHE_HUNYUAN_REPO", "t2v-544p", 33 * 34 * 60),
    ("opensora", "NAVICACHE_OPENSORA_REPO", "t2v", 2 * 15 * 30 * 53),
    ("opensora", "NAVICACHE_VIDEOSYS_REPO", "t2v", 2 * 15 * 30 * 53),
]


@pytest.mark.shows("modes", "wan t2v-14B", "hunyuan t2v-544p", "opensora t2v")
@pytest.mark.shows("budget", "wan t2v-14B", "hunyuan t2v-544p", "opensora t2v")
@pytest.mark.parametrize(
    ("model", "variable", "task", "tokens", "settings"),
    [(*family, settings) for family in FAMILIES for settings in settings_of(family[0])],
    ids=lambda given: name_of(given) if isinstance(given, dict) else str(given),
)
def test_a_generation_on_paper(model, variable, task, tokens, settings):
    from tests.doubles.standins import put_torchvision_in_place

    repo = checkout_of(variable, f"{model}'s official code")
    put_torchvision_in_place()
    assert_sound(run_on_paper(model, repo, settings, task=task), settings, tokens)
