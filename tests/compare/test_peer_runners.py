"""Caches of diffusers and cache-dit on tiny's weights: the same model, the same decisions, what they cost."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from backends.protocol import Stages
from backends.tiny.backend import TinyPipeline, shipped_weights
from navicache_cli.compare.document import Comparison
from navicache_cli.compare.peers.meter import parts_of
from navicache_cli.compare.peers.peers import PACKAGES, PEERS, check_installed, installed
from navicache_cli.compare.peers.runner import PeerRunner
from navicache_cli.compare.runners import Outcome, PipelineRunner
from navicache_cli.compare.settings import Setting, choose_settings, parse_sweep, peer_setting
from navicache_cli.compare.work import count_operations
from navicache_cli.errors import BackendError, UsageError
from navicache_cli.media.fidelity import psnr
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.plan.presets import preset_for
from navicache_cli.report.documents import as_document
from tests.program import assert_refused, invoke

STEPS = 8
PROMPT = "a red circle moving right on a dark striped background"


def judged(name: str, *values):
    """Parameters of a test of one peer, skipped where its library is not there."""
    missing = pytest.mark.skipif(not installed(name), reason=f"pip install 'navicache[peers]' to test {name}")
    return pytest.param(name, *values, marks=missing, id=name)


def plan_of(**options) -> Plan:
    return resolve([Layer("test", {"mode": "off", "steps": STEPS, "prompt": PROMPT, **options})])


@cache
def tiny() -> TinyPipeline:
    return TinyPipeline(shipped_weights(), device="cpu")


@cache
def shares() -> dict[str, float]:
    """Share of a forward's work in: the first block, all attentions, everything, and what is no part."""
    twin = tiny().twin()
    (model,) = twin.models
    counted = count_operations(model, lambda: twin.generate(plan_of(steps=1), Stages()))
    each = [counted[part] / counted[model] for part, _ in parts_of(model)]
    attentions = [share for i, share in enumerate(each) if i % 3 < 2]
    return {"first": sum(each[:3]), "attention": sum(attentions), "outside": 1 - sum(each)}


def run(name: str, knobs: dict, **options) -> Outcome:
    runner = PeerRunner(tiny(), PEERS[name].package)
    return runner.run(plan_of(**options), peer_setting("test", name, knobs))


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_diffusers_without_a_cache_makes_the_video_of_off(guidance):
    """Within 1e-3 on a scale of 2: what is left is the rounding of another order of additions."""
    plan = plan_of(steps=20, guidance=guidance)
    ours, theirs = tiny().generate(plan, Stages()), tiny().twin().generate(plan, Stages())
    assert ours.std() > 0.05, "a blank video proves nothing"
    assert (ours - theirs).abs().max() < 1e-3


def test_without_a_cache_all_is_work():
    outcome = run("diffusers:off", {})
    assert outcome.totals.compute_ratio == 1
    assert (outcome.totals.computed_steps, outcome.totals.transformer_calls) == (STEPS, 2 * STEPS)
    assert outcome.totals.cache_bytes == 0
    assert [step.timestep for step in outcome.steps] == sorted(
        (step.timestep for step in outcome.steps), reverse=True
    )


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        judged("diffusers:fbcache", {"threshold": 0}),
        judged("diffusers:magcache", {"threshold": 0, "max_skips": 0}),
        judged("diffusers:seacache", {"threshold": 0}),
        judged("diffusers:taylorseer", {"interval": 1}),
        judged("diffusers:taylorseer-lite", {"interval": 1}),
        judged("diffusers:pab", {"self": 1, "cross": 1}),
        judged("cache-dit:dbcache", {"threshold": 0}),
        judged("cache-dit:dbcache-taylor", {"threshold": 0}),
        judged("cache-dit:dbcache-dmd", {"threshold": 0}),
        judged("cache-dit:dbcache-foca", {"threshold": 0}),
    ],
)
def test_the_strictest_knobs_change_nothing(name, knobs):
    outcome = run(name, knobs)
    assert outcome.totals.compute_ratio == 1
    assert np.array_equal(outcome.frames, run("diffusers:off", {}).frames)


@pytest.mark.parametrize(
    ("name", "knobs", "computed", "always"),
    [
        judged("diffusers:fbcache", {"threshold": 100}, 1, "first"),
        judged("diffusers:magcache", {"threshold": 100, "max_skips": 99, "retention": 0}, 1, ""),
        judged("diffusers:seacache", {"threshold": 100, "max_skips": 0, "warmup": 0, "end": 0}, 1, ""),
        judged("diffusers:seacache", {"threshold": 100, "warmup": 2, "end": 3}, 6, ""),
        judged("diffusers:taylorseer", {"interval": 99, "warmup": 1}, 2, ""),
        judged("diffusers:taylorseer-lite", {"interval": 99, "warmup": 1}, 2, ""),
        judged(
            "diffusers:pab",
            {"self": 99, "cross": 99, "window_low": 0, "window_high": 1001},
            1,
            "feed-forward",
        ),
        judged("cache-dit:dbcache", {"threshold": 2, "warmup": 1}, 1, "first"),
        judged("cache-dit:dbcache-taylor", {"threshold": 2, "warmup": 2}, 2, "first"),
        judged("cache-dit:dbcache-dmd", {"threshold": 2, "warmup": 4}, 4, "first"),
        judged("cache-dit:dbcache-foca", {"threshold": 2, "warmup": 2}, 2, "first"),
    ],
)
def test_work_is_what_really_ran_and_branches_keep_apart(name, knobs, computed, always):
    """Where all that can be skipped is, the work is known; were the second branch to take the first one's
    state, it would have skipped one more forward. Nothing of one video is left for the next.
    """
    share = shares()
    rest = (
        share["outside"]
        + {
            "": 0.0,
            "first": share["first"],
            "feed-forward": 1 - share["attention"] - share["outside"],
        }[always]
    )
    outcome = run(name, knobs)
    assert outcome.totals.compute_ratio == pytest.approx((computed + (STEPS - computed) * rest) / STEPS)
    assert outcome.totals.cache_bytes > 0
    assert outcome.totals.computed_steps == (STEPS if rest >= 0.5 else computed)
    assert psnr(outcome.frames, run("diffusers:off", {}).frames) < 60
    assert np.array_equal(outcome.frames, run(name, knobs).frames)


def ours(method: str, **options) -> Outcome:
    plan = plan_of(mode="fast", method=method, steps=20, guidance=1, **options)
    return PipelineRunner(tiny()).run(plan, Setting("test", method, {}))


WINDOW = {"window_low": 100, "window_high": 900}


@pytest.mark.parametrize(
    ("name", "knobs", "method", "options"),
    [
        judged("diffusers:fbcache", {"threshold": 0.3}, "fbcache", {"threshold": 0.3}),
        judged(
            "diffusers:magcache",
            {"threshold": 0.03, "max_skips": 5},
            "magcache",
            {"threshold": 0.03, "max_skips": 5},
        ),
        judged(
            "diffusers:taylorseer-lite",
            {"interval": 2, "warmup": 3},
            "taylorseer",
            {"interval": 2, "align_steps": 3},
        ),
        judged(
            "diffusers:pab",
            {"self": 2, "cross": 3, **WINDOW},
            "pab",
            {"broadcast": "self=2 cross=3", "window": "100 900"},
        ),
        judged("cache-dit:dbcache", {"threshold": 0.3, "warmup": 1}, "fbcache", {"threshold": 0.3}),
    ],
)
def test_ours_is_what_theirs_is(name, knobs, method, options):
    """One branch, so that it does not matter who decides for the other: the same steps, the same video."""
    theirs, mine = run(name, knobs, steps=20, guidance=1), ours(method, **options)
    work = mine.totals.compute_ratio
    if name == "diffusers:taylorseer-lite":  # runs embeddings and head at skipped steps, ours does not
        work += (1 - work) * shares()["outside"]
    assert theirs.totals.compute_ratio == pytest.approx(work, abs=1e-6)
    assert 0.2 < mine.totals.compute_ratio < 0.95
    assert [step.computed for step in theirs.steps] == [step.computed for step in mine.steps]
    assert psnr(theirs.frames, mine.frames) > 50


def test_knobs_are_checked():
    assert peer_setting("x", "diffusers:taylorseer", {"interval": 2.0}).arguments["interval"] == 2
    for name, knobs, said in (
        ("diffusers:taylorseer", {"interval": 2.5}, "a whole number of at least 1"),
        ("diffusers:fbcache", {"threshold": -1}, "at least 0"),
        ("diffusers:seacache", {"order": 2}, "a whole number from 0 to 1, found 2"),
        ("cache-dit:dbcache-dmd", {"history": 3}, "a whole number of at least 4"),
        ("diffusers:fbcache", {"treshold": 1}, "did you mean threshold"),
        ("diffusers:off", {"threshold": 1}, "unknown option of diffusers:off"),
    ):
        with pytest.raises(UsageError, match=said):
            peer_setting("x", name, knobs)


@pytest.mark.parametrize(
    ("name", "knobs"), [judged("cache-dit:dbcache", {"first": 6, "last": 3, "warmup": 1})]
)
def test_more_blocks_than_there_are(name, knobs):
    with pytest.raises(UsageError, match="at most the model's 8 blocks"):
        run(name, knobs)


def test_peers_are_chosen_like_methods():
    said = preset_for("tiny").peers
    assert set(said) == set(PEERS)

    def chosen(*arguments):
        return choose_settings(*arguments, 50, ["fast", "mid"], said)

    by_mode = chosen(["diffusers:fbcache", "diffusers:off"], None, [])
    assert [one.name for one in by_mode] == [
        "diffusers:fbcache fast", "diffusers:fbcache mid", "diffusers:off",
    ]  # fmt: skip
    swept = chosen(None, None, [parse_sweep("diffusers:taylorseer.interval=2:4:3")])
    assert [one.arguments["interval"] for one in swept] == [2, 3, 4]
    assert {one.arguments["peer"] for one in swept} == {"diffusers:taylorseer"}
    present = {one.method for one in chosen(None, None, []) if ":" in one.method}
    assert present == {name for name in said if installed(name)}, "those that are there, by default"
    with pytest.raises(UsageError, match="unknown option of diffusers:pab"):
        parse_sweep("diffusers:pab.threshold=0.1:0.2:2")


def test_a_library_that_is_too_old_is_missing(monkeypatch):
    monkeypatch.setitem(PACKAGES, "diffusers", "999")
    for name in PEERS:
        with pytest.raises(BackendError, match="diffusers 999 or later") as caught:
            check_installed(name)
        assert caught.value.hint == "pip install 'navicache[peers]'"


def test_other_models_have_no_peers(cli):
    done = cli("compare", "--model", "wan", "--methods", "diffusers:fbcache")
    assert_refused(done, 2, "expects a model whose weights it can run", "--model tiny")


def test_compare_runs_peers(tmp_path):
    """Through the program: a sweep and a method, one baseline for all, standard output all JSON."""
    wanted = ["diffusers:fbcache", "diffusers:seacache", "cache-dit:dbcache"]
    peers = [name for name in wanted if installed(name)]
    sweeps = [part for name in peers for part in ("--sweep", f"{name}.threshold=0.05:2:2")]
    shown = invoke(
        "compare", "--methods", "diffusers:off", *sweeps, "--prompt", PROMPT, "--steps", 12, "--no-lpips",
        "--output-dir", tmp_path, "--json",
    )  # fmt: skip
    document = json.loads(shown)
    as_document(document, Comparison)
    found = {one["name"]: one for one in document["settings"]}
    assert found["diffusers:off"]["psnr"]["mean"] > 50
    for name in peers:
        strict, lax = found[f"{name} threshold 0.05"], found[f"{name} threshold 2"]
        assert lax["compute_ratio"] < strict["compute_ratio"] <= 1
        assert lax["runner"] == PEERS[name].package
    (cell, *_) = [one for one in document["cells"] if one["setting"].startswith("diffusers:fbcache")]
    report = json.loads((tmp_path / cell["report"]).read_text())
    assert report["model"]["repository"] == "huggingface/diffusers"
    assert report["model"]["weights_digest"] == tiny().identity.weights_digest
    assert (tmp_path / "index.html").is_file()
