"""Predictors and budgets through the program: what runs, what the report and the plot say of it."""

from __future__ import annotations

import json

import pytest

from navicache_cli.compare.settings import choose_settings, parse_names, parse_sweep, variants
from navicache_cli.errors import UsageError
from tests.program import invoke, report_in


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A generation of 16 steps at half the compute, with each predictor."""
    folder = tmp_path_factory.mktemp("predictors")
    for predictor in ("residual", "hold", "calibrated"):
        invoke(
            "generate", "--steps", 16, "--speedup", 2, "--predictor", predictor, "--align-steps", 3,
            "-o", folder / f"{predictor}.mp4", "--quiet",
        )  # fmt: skip
    return {path.stem: (path, report_in(path)) for path in folder.glob("*.json")}


@pytest.mark.shows("budget", "tiny t2v")
def test_half_the_steps_are_computed(reports):
    for _, report in reports.values():
        assert report["totals"]["computed_steps"] == 8
        assert report["plan"]["speedup"] == {"value": 2.0, "source": "--speedup"}
        thresholds = [step["threshold"] for step in report["steps"] if not step["forced"]]
        assert len({*thresholds}) > 1


def test_predictors_make_different_videos(reports):
    assert len({report["output"]["sha256"] for _, report in reports.values()}) == 3


def test_the_report_says_what_was_learnt_and_kept(reports):
    steps = reports["calibrated"][1]["steps"]
    assert steps[0]["fit"]["record"] is None
    last = steps[-1]["fit"]
    assert last["record"] > 0
    assert last["trend_deviation"] > 0
    assert all(step["fit"] is None for step in reports["hold"][1]["steps"])
    kept = {name: report["totals"]["cache_tensors"] for name, (_, report) in reports.items()}
    # Two branches: x and y; with the trend an older output, the debt and what is booked of it.
    assert kept["residual"] == kept["hold"] <= 6 < kept["calibrated"] <= 12


def test_the_plot_shows_thresholds_and_coefficients(reports):
    path, _ = reports["calibrated"]
    picture = path.with_suffix(".svg")
    invoke("plot", path, "-o", picture)
    drawn = picture.read_text("utf-8")
    assert "set by the budget" in drawn
    assert "calibrated · 2x" in drawn
    assert "fast" not in drawn
    assert "trend that is followed" in drawn


def test_a_video_made_on_a_budget_says_so(tmp_path):
    plan = json.loads(invoke("generate", "--speedup", 2.5, "--dry-run", "--json", "--output-dir", tmp_path))
    assert plan["speedup"]["value"] == 2.5
    assert plan["align_steps"] == {"value": 3, "source": "preset tiny, at most 3 on this budget"}


def test_compare_runs_a_method_with_another_predictor():
    named = parse_names("navicache,navicache+calibrated", "method", ["navicache", *variants()])
    found = choose_settings(named, ["fast"], [], 50, ["fast"])
    assert [setting.name for setting in found] == ["navicache fast", "navicache+calibrated fast"]
    assert found[1].values == {"mode": "fast", "method": "navicache", "predictor": "calibrated"}


def test_compare_sweeps_budgets():
    sweep = parse_sweep("navicache+calibrated.speedup=1.5:2.5:3")
    found = choose_settings(None, None, [sweep], 50, ["fast"])
    assert [setting.values for setting in found] == [
        {"method": "navicache", "predictor": "calibrated", "speedup": speedup} for speedup in (1.5, 2.0, 2.5)
    ]
    with pytest.raises(UsageError, match="unknown method 'navicache\\+kalman'"):
        parse_sweep("navicache+kalman.speedup=1:2:2")
