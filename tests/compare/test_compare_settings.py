"""`compare --settings`, and the share of a model's arithmetic that a generation took."""

from __future__ import annotations

import json
from functools import cache

import pytest

from backends.tiny.backend import TinyPipeline, shipped_weights
from navicache_cli.compare.runners import PipelineRunner
from navicache_cli.compare.settings import Setting
from navicache_cli.compare.settings_file import read_settings
from navicache_cli.errors import UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from tests.program import assert_refused, invoke

STEPS = 12
GOOD = """
strict: {method: navicache, threshold: 0.01, align-steps: 3, line: ours}
pab wide: {method: pab, broadcast: self=2 cross=4, window: [0, 1000]}
a third: {method: fewer-steps, steps: 4}
theirs: {method: "diffusers:fbcache", threshold: 0.3}
"""


def written(folder, text: str):
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_settings_by_name(tmp_path):
    strict, pab, third, theirs = read_settings(written(tmp_path, GOOD), 50)
    assert (strict.name, strict.method) == ("strict", "ours")
    assert strict.values == {"method": "navicache", "threshold": 0.01, "align_steps": 3}
    assert pab.values == {"method": "pab", "broadcast": "self=2 cross=4", "window": [0, 1000]}
    assert (third.method, third.values["steps"]) == ("fewer-steps", 4)
    assert theirs.runner == "diffusers"
    assert theirs.arguments == {"peer": "diffusers:fbcache", "threshold": 0.3}


def test_a_name_that_stands_for_a_predictor(tmp_path):
    text = """
    by name: {method: navicache+calibrated, threshold: 0.01}
    by option: {method: easycache, predictor: calibrated}
    on a budget: {method: navicache, compute: 0.5, max-error: 0.05}
    """
    by_name, by_option, budget = read_settings(written(tmp_path, text), 50)
    assert by_name.values == {"method": "navicache", "predictor": "calibrated", "threshold": 0.01}
    assert by_name.method == "navicache+calibrated"
    assert by_option.values == {"method": "easycache", "predictor": "calibrated"}
    assert budget.values == {"method": "navicache", "compute": 0.5, "max_error": 0.05}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none"),
        ("x: 3", "expects a method under 'x'"),
        ("x: {threshold: 3}", "expects a method under 'x'"),
        ("x: {method: navicahe}", "did you mean navicache"),
        ("x: {method: navicache, interval: 3}", "unknown option of navicache"),
        ("x: {method: navicache, prompt: hello}", "unknown option of navicache"),
        ("x: {method: navicache+calibrated, predictor: hold}", "unknown option of navicache"),
        ("x: {method: teacache, speedup: 2}", "unknown option of teacache"),
        ("x: {method: teacache, max-error: 0.1}", "unknown option of teacache"),
        ("x: {method: fewer-steps, steps: 51}", "1 to 50 steps, found 51"),
        ("x: {method: fewer-steps}", "a whole number"),
        ("x: {method: 'diffusers:fbcache', threshold: much}", "a number"),
        ("x: {method: 'diffusers:fbcache', threshold: -1}", "at least 0"),
        ("'off': {method: navicache}", "other than 'off'"),
        (f"{'x' * 61}: {{method: navicache}}", "names of 1 to 60"),
        ("- x", "mapping was expected"),
    ],
)
def test_settings_that_are_none(text, said, tmp_path):
    with pytest.raises(UsageError, match=said) as caught:
        read_settings(written(tmp_path, text), 50)
    assert caught.value.hint


def test_compare_with_a_file(tmp_path):
    text = "\n".join(line for line in GOOD.splitlines() if "diffusers" not in line)
    text += "\ncalibrated: {method: navicache+calibrated, threshold: 0.01, align-steps: 3}"
    arguments = ["--steps", STEPS, "--no-lpips", "--no-page", "--output-dir", tmp_path / "out", "--json"]
    prompt = ("--prompt", "a red circle moving right")
    shown = invoke("compare", "--settings", written(tmp_path, text), *prompt, *arguments)
    found = {one["name"]: one for one in json.loads(shown)["settings"]}
    assert list(found) == ["off", "strict", "pab wide", "a third", "calibrated"]
    assert found["a third"]["compute_ratio"] == pytest.approx(4 / STEPS)
    assert 0.6 < found["pab wide"]["compute_ratio"] < 0.8
    # Added later, a budget is what runs first; the warm-up before it has fewer steps than any budget needs.
    text += "\nbudget: {method: navicache, compute: 0.75}"
    shown = invoke("compare", "--settings", written(tmp_path, text), *prompt, *arguments)
    found = {one["name"]: one for one in json.loads(shown)["settings"]}
    assert found["budget"]["compute_ratio"] == pytest.approx(0.75)


def test_a_bad_file_is_refused_before_anything_is_loaded(cli, tmp_path):
    written(tmp_path, "x: {method: navicache, threshold: high}")
    assert_refused(cli("compare", "--settings", "settings.yaml"), 2, "threshold expects a number")


# Multiply-adds count twice. 80 tokens of width 192 attend to each other and to 24 words of the prompt.
TOKENS, WORDS, WIDTH, HIDDEN = 80, 24, 192, 768
LINEAR = 2 * TOKENS * WIDTH * WIDTH
SELF = 4 * LINEAR + 4 * TOKENS * TOKENS * WIDTH
CROSS = 2 * LINEAR + 4 * WORDS * WIDTH * WIDTH + 4 * TOKENS * WORDS * WIDTH
FEED_FORWARD = 4 * TOKENS * WIDTH * HIDDEN
BLOCK = SELF + CROSS + FEED_FORWARD


@cache
def runner() -> PipelineRunner:
    return PipelineRunner(TinyPipeline(shipped_weights(), device="cpu"))


def totals(method: str, **options):
    plan = resolve([Layer("test", {"method": method, "steps": STEPS, **options})])
    return runner().run(plan, Setting("test", method, {})).totals


def test_whole_steps_are_whole():
    sums = totals("navicache", threshold=0.5, align_steps=3)
    assert sums.skipped_steps > 0
    assert sums.compute_ratio == pytest.approx(sums.computed_steps / STEPS)
    assert totals("off", mode="off").compute_ratio == 1


def test_what_always_runs_is_work():
    """The embeddings and the head, some 1 % of tiny, and with a first-block cache the first block."""
    first = totals("fbcache", threshold=2)
    assert first.skipped_steps > 0
    saved = (1 - first.compute_ratio) * STEPS / first.skipped_steps
    assert saved == pytest.approx(7 / 8, abs=0.02)
    stack = totals("magcache", threshold=0.3)
    assert stack.skipped_steps > 0
    saved = (1 - stack.compute_ratio) * STEPS / stack.skipped_steps
    assert 0.97 < saved < 1


def test_saved_attentions_are_saved_work():
    sums = totals("pab", broadcast="self=2 cross=4", window="0 1000")
    assert sums.skipped_steps == 0
    # Of 12 steps self-attention skips 6, cross-attention 9; attention to the prompt is the cheaper one.
    in_blocks = (SELF * 6 + CROSS * 9) / (BLOCK * 12)
    assert 1 - sums.compute_ratio == pytest.approx(in_blocks, rel=0.02)
    assert 1 - sums.compute_ratio < in_blocks, "of the whole model, blocks are a little less than all"
