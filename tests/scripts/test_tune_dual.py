"""scripts/tune_dual.py: its equations are the shipped filter's, and it gives the same every time."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from navicache_cli.cache import DualKalman, ScalarKalman, ZeroOrderHold
from navicache_cli.plots.accuracy import Pairs, read_pairs
from tests.conftest import MEASURED
from tests.program import SCRIPTS, loaded_script

TINY = SCRIPTS / "tiny_changes.csv"


@pytest.fixture(scope="module")
def script():
    yield from loaded_script("tune_dual")


def searched(script, capsys, monkeypatch, *arguments) -> dict:
    monkeypatch.setattr(sys, "argv", ["tune_dual.py", *map(str, arguments)])
    script.main()
    found = json.loads(capsys.readouterr().out)
    assert found.pop("seconds") < 120
    return found


def test_all_sets_at_once_are_the_filter_one_by_one(script):
    random = np.random.default_rng(3)
    steps = np.array([1, 2, 3, 5, 6, 7, 8, 11, 12, 15])
    run = Pairs("p", steps, random.uniform(0.05, 0.5, len(steps)), random.uniform(0.05, 0.5, len(steps)))
    candidates = script.draw(30, random, script.RANGES)
    errors = script.simulate(candidates, run)
    for index in range(30):
        one = DualKalman(**{name: float(values[index]) for name, values in candidates.items()})
        assert errors[index] == pytest.approx(script.error_of(one, run), rel=1e-9)
    assert errors.std() > 0.01


def test_the_middle_of_the_best(script):
    candidates = {name: np.array([1.0, 4.0, 0.5, 0.9]) for name in script.RANGES}
    found = script.middle(candidates, np.array([0.2, 0.1, 0.45, 0.5]), best=2)
    assert found["level_noise"] == 2.0, "the geometric mean"
    assert found["damping"] == 2.5, "the arithmetic mean"


def test_held_out_errors_do_not_see_their_prompt(script, tmp_path, capsys, monkeypatch):
    """One prompt's ratios are noise: it must not gain by having been searched on."""
    random = np.random.default_rng(0)
    lines = ["prompt,step,input_rel_l1,output_rel_l1"]
    for prompt in range(3):
        for step in range(1, 25):
            ratio = 2 * 0.9**step if prompt else random.uniform(0.5, 2)
            lines.append(f"p{prompt},{step},0.1,{0.1 * ratio}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    found = searched(script, capsys, monkeypatch, tmp_path / "pairs.csv", "--count", 500)
    assert found == searched(script, capsys, monkeypatch, tmp_path / "pairs.csv", "--count", 500)
    (tmp_path / "noise.csv").write_text("\n".join(line for line in lines if line[:2] in ("pr", "p0")))
    (noise,) = read_pairs(tmp_path / "noise.csv")
    others = [run for run in read_pairs(tmp_path / "pairs.csv") if run.prompt != "p0"]
    candidates = script.draw(500, np.random.default_rng(0), script.RANGES)
    errors = np.mean([script.simulate(candidates, run) for run in others], axis=0)
    chosen = script.middle(candidates, errors, best=20)
    assert found["held_out_by_prompt"]["pairs"]["p0"] == script.error_of(DualKalman(**chosen), noise)


def test_sources_weigh_the_same(script):
    errors = {"many": np.array([[0.1, 0.3, 0.2], [0.2, 0.2, 0.8]]), "one": np.array([[0.4], [0.1]])}
    assert script.score(errors, {"many": 0.2, "one": 0.4}) == pytest.approx([1.0, 1.125])


def test_the_shipped_filter_is_the_best_on_recordings_of_tiny(script):
    pairs = read_pairs(TINY)
    dual, scalar, hold = (
        script.mean_error(one, pairs) for one in (DualKalman(), ScalarKalman(), ZeroOrderHold())
    )
    assert dual < 0.95 * hold
    assert dual < 0.95 * scalar


@pytest.mark.skipif(
    not MEASURED.is_file(), reason=f"needs {MEASURED}; set NAVICACHE_MEASURED_PAIRS to where it is"
)
def test_the_shipped_parameters_are_what_the_search_gives(script, capsys, monkeypatch):
    found = searched(script, capsys, monkeypatch, MEASURED, TINY)
    shipped = DualKalman()
    assert found["parameters"] == {name: getattr(shipped, name) for name in script.RANGES}
    for path, held_out in (
        (MEASURED, found["held_out"][MEASURED.stem]),
        (TINY, found["held_out"][TINY.stem]),
    ):
        pairs = read_pairs(path)
        assert held_out < (0.85 if path == MEASURED else 1) * script.mean_error(ZeroOrderHold(), pairs)
        assert held_out < (0.92 if path == MEASURED else 1) * script.mean_error(ScalarKalman(), pairs)
