"""The error bar and its bound through the program: what runs, what report, summary and compare say."""

from __future__ import annotations

import json

import pytest

from navicache_cli.compare.jobs import what_matters
from navicache_cli.compare.settings import BASELINE, parse_sweep
from navicache_cli.errors import UsageError
from navicache_cli.media.video import read_video
from navicache_cli.plan.plan import build_plan
from tests.program import invoke, report_in

SETTINGS = {
    "free": (),
    "far": ("--max-error", 100),
    "near": ("--max-error", 1e-9),
    "off": ("--mode", "off"),
    "taylor": ("--method", "taylorseer"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the program shows, and the report, of a short generation by each setting."""
    folder, made = tmp_path_factory.mktemp("error-bar"), {}
    for name, options in SETTINGS.items():
        path = folder / f"{name}.mp4"
        shown = invoke("generate", "--steps", 14, "--set", "align_steps=3", *options, "-o", path)
        made[name] = " ".join(shown.split()), report_in(path.with_suffix(".json")), read_video(path)[0]
    return made


def test_the_report_has_the_error_and_its_band(made):
    shown, report, _ = made["free"]
    bar = report["totals"]["predicted_error"]
    assert report["totals"]["skipped_steps"] > 0
    assert 0 < bar["low"] < bar["relative"] < bar["high"]
    assert bar["confidence"] == 0.9
    errors = [step["predicted_error"] for step in report["steps"]]
    assert errors[0] == 0
    assert errors[-1] > 0
    assert f"{bar['relative']:.1%} of the latents (predicted), {bar['low']:.1%} to {bar['high']:.1%}" in shown


def test_without_skips_there_is_no_error(made):
    shown, report, _ = made["off"]
    assert not any("predicted" in note for note in report["notes"])
    assert report["totals"]["predicted_error"] == {"relative": 0, "low": 0, "high": 0, "confidence": 0.9}
    assert "of the latents (predicted)" not in shown


def test_other_papers_methods_predict_none(made):
    shown, report, _ = made["taylor"]
    assert report["totals"]["skipped_steps"] > 0
    assert report["totals"]["predicted_error"] is None
    assert {step["predicted_error"] for step in report["steps"]} == {None}
    assert "of the latents (predicted)" not in shown
    reason = "none is known for this method and predictor"
    assert report["notes"] == [f"no error of the latents is predicted: {reason}"]
    assert f"error not predicted: {reason}" in shown


def test_why_no_error_is_predicted_is_told(tmp_path, monkeypatch):
    """A sampler whose latents move along no path, as the estimate sees it."""
    monkeypatch.setattr("navicache_cli.cache.session.error_estimate._LEAST_COSINE", 1.1)
    path = tmp_path / "noisy.mp4"
    shown = " ".join(invoke("generate", "--steps", 14, "--set", "align_steps=3", "-o", path).split())
    report = report_in(path.with_suffix(".json"))
    assert report["totals"]["skipped_steps"] > 0
    assert report["totals"]["predicted_error"] is None
    (note,) = report["notes"]
    assert note.startswith("no error of the latents is predicted: the latents do not move along a path")
    assert "error not predicted: the latents do not move along a path" in shown


def test_a_bound_far_away_changes_nothing(made):
    assert (made["far"][2] == made["free"][2]).all()
    assert made["far"][1]["plan"]["max_error"] == {"value": 100.0, "source": "--max-error"}


def test_a_bound_next_to_zero_computes_everything(made):
    report = made["near"][1]
    assert report["totals"]["skipped_steps"] == 0
    assert any(step["stopped"] for step in report["steps"])
    assert not any(step["stopped"] for step in made["free"][1]["steps"])
    assert report["totals"]["predicted_error"]["relative"] == 0
    assert (made["near"][2] == made["off"][2]).all()


def test_the_environment_and_files_can_set_it(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("max-error: 0.02\n")
    assert build_plan({}, [], config, {}).max_error == 0.02
    assert build_plan({}, [], config, {"NAVICACHE_MAX_ERROR": "0.03"}).max_error == 0.03


def test_compare_sweeps_it_and_the_baseline_takes_no_notice():
    assert parse_sweep("navicache.max-error=0.01:0.03:3").values == (0.01, 0.02, 0.03)
    baseline = build_plan({"max_error": "0.1", **BASELINE.values}, [], None, {})
    assert what_matters(baseline) == what_matters(build_plan(BASELINE.values, [], None, {}))


def test_batch_takes_it(tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt,max_error\na red circle,0.01\na blue ring,\n")
    shown = invoke("batch", tmp_path / "prompts.csv", "--dry-run", "--json", "--output-dir", tmp_path / "out")
    assert json.loads(shown)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_error": "0"}, "max-error expects more than 0, found 0 (--max-error)"),
        ({"max_error": "-0.1"}, "max-error expects more than 0, found -0.1"),
        ({"max_error": "nan"}, "max-error expects a finite number"),
        ({"max_error": "0.1", "method": "teacache"}, "found 'teacache', which predicts no error"),
        ({"max_error": "0.1", "model": "opensora"}, "opensora takes no max-error"),
    ],
)
def test_refusals(options, told):
    with pytest.raises(UsageError) as caught:
        build_plan(options, [], None, {})
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint
