"""scripts/tune_peers.py: what it finds takes the work that was asked for; `compare --settings` reads it."""

from __future__ import annotations

import pytest

from backends.tiny.conditions import Condition
from navicache_cli.cache.policies.factory import METHODS
from navicache_cli.compare.peers.peers import PEERS
from navicache_cli.compare.settings_file import read_settings
from tests.program import SCRIPTS, loaded_script

TABLE = SCRIPTS / "full_table"


@pytest.fixture(scope="module")
def script():
    yield from loaded_script("tune_peers")


def found_options(search) -> dict[str, object]:
    """What a search might find."""
    if search.choices:
        return search.choices[0]
    return {"interval": 2, search.first: 3} if search.first else {"threshold": 0.07}


def test_every_method_is_searched(script):
    searched = {search.method for search in script.SEARCHES}
    assert searched == {*METHODS, *PEERS} - {"off", "diffusers:off"}
    for search in script.SEARCHES:
        assert [bool(search.choices), bool(search.first), 0 < search.low < search.high].count(True) == 1


def test_intervals_take_the_work_they_are_for(script):
    for steps, speedups in ((50, (1.5, 1.8, 2, 2.5)), (30, (2, 3))):
        for choice in script.intervals("first", steps, speedups):
            computed = choice["first"] + (steps - choice["first"]) / choice["interval"]
            assert any(abs(computed / steps - 1 / speedup) < 0.8 / steps for speedup in speedups)


def test_between_two_thresholds(script):
    curve = [(0.01, 0.9), (0.1, 0.5), (1.0, 0.3)]
    assert script.between(curve, 0.7) == pytest.approx(0.0316)
    assert script.between(curve, 0.5) == 0.1
    assert script.between(curve, 0.95) == 0.01
    assert script.between(curve, 0.1) == 1.0
    assert script.between([(0.01, 0.5), (0.1, 0.5)], 0.5) == 0.01


def test_what_is_found_is_read_by_compare(script, tmp_path):
    found = [
        script.Found(search, speedup, options, 1 / speedup, 30.0, 25.0)
        for search in script.SEARCHES
        for speedup, options in ((1.5, {}), (1.8, {}), (2.0, found_options(search)))
    ]
    path = tmp_path / "settings.yaml"
    path.write_text(script.settings_text(found, Condition(5, 4, 30)))
    settings = {one.name: one for one in read_settings(path, 30)}
    assert not [name for name in settings if name.endswith("1.8x")], "1.8 is no budget of the table"
    assert settings["navicache dual 2x"].method == "navicache dual"
    assert settings["navicache dual 2x"].values["estimator"] == "dual"
    assert settings["fewer-steps 2x"].values["steps"] == 15
    assert settings["hold 3x"].values == {"method": "navicache", "predictor": "hold", "speedup": 3}
    for search in script.SEARCHES:
        setting = settings[f"{search.name} 2x"]
        expected = {**search.fixed, **found_options(search)}
        assert expected.items() <= {**setting.values, **setting.arguments}.items()
    assert "  pab: {modes: {slow: {}, mid: {}, fast: {" in "\n".join(script.preset_lines(found))


def test_the_search_itself(script):
    """Two methods on one prompt of few steps: a threshold, and a choice by its PSNR."""
    bench = script.Bench(["a red circle moving right on a dark striped background"], Condition(2, 6, 10))
    (found,) = script.tune(bench, script.Search("fbcache", 0.02, 2.0), [1.5])
    assert found.options["threshold"] > 0
    assert abs(found.compute - 1 / 1.5) < 0.2, "of ten steps"
    choices = tuple(
        {"interval": interval, "order": order, "align_steps": 1}
        for interval, order in ((2, 1), (2, 0), (9, 1))
    )
    search = script.Search("taylorseer", choices=choices, same=True)
    (found,) = script.tune(bench, search, [2.0])
    both = [bench.judge(search, 2.0, one).psnr for one in choices[:2]]
    assert found.options["interval"] == 2
    assert found.psnr == max(both) > min(both)


def test_the_table_is_not_measured_on_what_was_tuned_on(script):
    prompts = (TABLE / "prompts.txt").read_text().splitlines()
    assert len(set(prompts)) == 32
    scenes = script.held_out_scenes(8, script.SEED)
    assert not {script.describe(scene) for scene in scenes} & set(prompts)


def test_shipped_settings_of_the_table(script):
    again = {
        "navicache dual",
        *(f"diffusers:{name}" for name in ("fbcache", "magcache", "pab", "taylorseer-lite")),
    }
    searched = {search.name for search in script.SEARCHES}
    for name, condition, left_out in (("preset", script.PRESET, set()), ("main", script.MAIN, again)):
        lines = {one.method for one in read_settings(TABLE / f"{name}.yaml", condition.steps)}
        assert searched - left_out <= lines
        assert "fewer-steps" in lines
