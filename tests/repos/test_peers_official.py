"""Methods and predictors on the official classes at toy size: what they see, what runs, what stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest
import torch

from backends.hunyuan import HunyuanBackend
from backends.hunyuan import pipeline as hunyuan
from backends.hunyuan.tasks import HUNYUAN
from backends.opensora import OpenSoraBackend
from backends.opensora import pipeline as opensora
from backends.opensora.facts import OPENSORA
from backends.wan import WanBackend
from backends.wan.tasks import WAN
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import SiteError
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import load_presets
from navicache_cli.run.runner import run
from tests.cache import peer_oracles
from tests.repos.checkouts import checkout_of
from tests.repos.following import inputs_of_a_layer

REPOSITORIES = {
    "wan": (WAN, WanBackend),
    "hunyuan": (HUNYUAN, HunyuanBackend),
    "opensora": (OPENSORA, OpenSoraBackend),
}
STEPS = 14
# Wide enough to skip with random weights, whatever these are.
LOOSE = {
    "teacache": {"threshold": "3.0", "coefficients": "1 0"},
    "magcache": {"threshold": "5.0"},
    "fbcache": {"threshold": "0.9"},
    "taylorseer": {},
    "pab": {"window": "0 1000"},
}
CASES = [(model, method) for model in REPOSITORIES for method in load_presets()[model].methods]


def plan_of(model, method, **flags):
    """A small plan; 96×64 pixels are a size that the presets do not offer."""
    given = {"model": model, "steps": str(STEPS), "frames": "5", "weights": "random-small"}
    given |= {"mode": "off"} if method == "off" else {"method": method}
    if model == "opensora":
        small = {"size": "144p", "aspect_ratio": "1:1", "frames": "17"}
        return build_plan({**given, **small, **flags}, [], None, {})
    return replace(build_plan({**given, **flags}, [], None, {}), size="96x64")


@pytest.fixture(scope="module")
def pipelines():
    from tests.doubles.standins import put_torchvision_in_place

    put_torchvision_in_place()
    loaded = {}

    def load(model):
        official, backend = REPOSITORIES[model]
        repository = checkout_of(official.variable, official.url)
        if model not in loaded:
            loaded[model] = backend().load(plan_of(model, "off", repo=repository))
        return loaded[model]

    return load


@pytest.mark.parametrize(("model", "method"), CASES)
def test_a_method_saves_calls_and_leaves_no_trace(pipelines, model, method):
    pipeline = pipelines(model)
    plain = run(pipeline, plan_of(model, "off"))
    branches = plain.session.transformer_calls // STEPS
    cached = run(pipeline, plan_of(model, method, **LOOSE[method]))
    session = cached.session
    assert torch.isfinite(cached.video).all()
    assert cached.video.shape == plain.video.shape
    computed = computed_of(cached)
    assert session.transformer_calls == branches * computed.count(True)
    if method == "pab":
        assert all(computed)
        assert session.parts.calls_saved > 0
        assert {kind for record in session.records for kind in record.decision.reuse} == set(
            session.policy.broadcast
        )
    else:
        assert session.transformer_calls_saved == branches * computed.count(False) > 0
    assert session.peak_cache_bytes > 0
    assert session.cache_bytes == 0
    assert torch.equal(run(pipeline, plan_of(model, "off")).video, plain.video)


def computed_of(done):
    return [record.computed for record in done.session.records]


def changes_of(done):
    """What a method decided by at each step but the first."""
    return [record.measured.signal for record in done.session.records[1:]]


@pytest.mark.parametrize(("model", "method"), [case for case in CASES if case[1] in ("teacache", "fbcache")])
def test_a_threshold_decides(pipelines, model, method):
    """At 0 nothing is skipped; at a threshold the run itself suggests, what the published rule says."""
    pipeline = pipelines(model)
    more = {"coefficients": "1 0"} if method == "teacache" else {}
    every = run(pipeline, plan_of(model, method, threshold="0", **more))
    assert torch.equal(every.video, run(pipeline, plan_of(model, "off")).video)
    # TeaCache adds changes up, so three steps' worth; the first-block cache looks at one change at a time.
    steps_worth = 3 if method == "teacache" else 1
    plan = plan_of(model, method, threshold=str(steps_worth * median(changes_of(every))), **more)
    some = run(pipeline, plan)
    if method == "teacache":
        first = plan.align_steps
        rule = peer_oracles.teacache([0.0, *changes_of(some)], (1, 0), plan.threshold, first, last=first <= 1)
    else:
        rule = [True, *(not change < plan.threshold for change in changes_of(some))]
    assert computed_of(some) == rule
    assert 2 <= rule.count(False) <= STEPS - 2


def test_wan_teacache_decides_by_the_projected_time_embedding(pipelines):
    """TeaCache4Wan2.1 with retention steps: e0, recomputed here from the timesteps by the official layers."""
    pipeline = pipelines("wan")
    done = run(pipeline, plan_of("wan", "teacache", **LOOSE["teacache"]))
    model = pipeline.official.model
    sinusoidal = sys.modules[type(model).__module__].sinusoidal_embedding_1d
    embeddings = []
    with torch.no_grad():
        for record in done.session.records:
            e = model.time_embedding(sinusoidal(model.freq_dim, torch.tensor([record.timestep])).float())
            embeddings.append(model.time_projection(e).float())
    changes = [float((b - a).abs().mean() / a.abs().mean()) for a, b in pairwise(embeddings)]
    assert [r.measured.signal for r in done.session.records[1:]] == pytest.approx(changes, rel=1e-3)


def test_hunyuan_modulated_input_is_what_the_attention_takes(pipelines):
    """TeaCache4HunyuanVideo: the input of the first block's projection to queries, keys and values."""
    pipeline = pipelines("hunyuan")
    block = pipeline.sampler.pipeline.transformer.double_blocks[0]
    plan = plan_of("hunyuan", "off", steps="2")
    taken, made = inputs_of_a_layer(
        block, block.img_attn_qkv, hunyuan.modulated_input, lambda: run(pipeline, plan)
    )
    assert len(taken) == 2
    assert all(torch.equal(a, b) for a, b in zip(taken, made, strict=True))


def test_opensora_modulated_input_is_what_the_attention_takes(pipelines):
    """TeaCache's opensora.py: the input of the first spatial attention, frames apart."""
    pipeline = pipelines("opensora")
    block = pipeline.route.transformer.spatial_blocks[0]
    plan = plan_of("opensora", "off", steps="2")
    taken, made = inputs_of_a_layer(block, block.attn, opensora.modulated_input, lambda: run(pipeline, plan))
    assert len(taken) == 2
    for a, b in zip(taken, made, strict=True):
        torch.testing.assert_close(a.reshape(b.shape), b)


def test_hunyuan_has_no_attentions_to_broadcast(pipelines):
    with pytest.raises(SiteError, match="attentions that are modules"):
        pipelines("hunyuan").site(Region.ATTENTION)


@pytest.mark.shows("budget", "wan t2v-1.3B", "hunyuan t2v-544p", "opensora t2v")
@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.parametrize("speedup", ["1.5", "2", "2.5"])
@pytest.mark.parametrize("model", REPOSITORIES)
def test_calibration_does_no_harm_where_there_is_nothing_to_learn(pipelines, model, speedup, seed):
    """With random weights: no more than 2 % further from the uncached video than held outputs."""
    pipeline = pipelines(model)
    given = {"seed": seed, "steps": "30"}
    plain = run(pipeline, plan_of(model, "off", **given)).video
    off_by = {}
    for predictor in ("hold", "calibrated"):
        cached = run(pipeline, plan_of(model, "navicache", predictor=predictor, speedup=speedup, **given))
        assert computed_of(cached).count(True) == round(30 / float(speedup))
        off_by[predictor] = ((cached.video - plain).norm() / plain.norm()).item()
    assert 0 < off_by["calibrated"] <= off_by["hold"] + 0.02
