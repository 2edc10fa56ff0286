"""Every peer in diffusers' own WanPipeline: there it does what `compare` says it does in the twin."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import navicache
from backends.tiny.backend import TinyPipeline, shipped_weights
from navicache_cli.compare.peers.caches import APART, switched_on
from navicache_cli.compare.peers.meter import PeerMeter, count_shares
from navicache_cli.compare.peers.peers import PEERS, installed
from navicache_cli.compare.peers.runner import PeerRunner
from navicache_cli.compare.settings import peer_setting
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.report.peak_memory import PeakMemory
from navicache_cli.report.report import Totals

pytest.importorskip("accelerate", reason="pip install 'navicache[diffusers]' to test WanPipeline")
from scripts.measure_exported import make_video

PROMPT = "a yellow star growing on a light plain background"
# No decision is close: the two samplers' noise levels differ in the third digit.
LENIENT: dict[str, dict[str, float]] = {
    "diffusers:fbcache": {"threshold": 0.25},
    "diffusers:magcache": {},
    "diffusers:seacache": {"threshold": 0.5},
    "diffusers:taylorseer": {"interval": 3},
    "diffusers:taylorseer-lite": {"interval": 3},
    "diffusers:pab": {"window_low": 0, "window_high": 1000},
    "cache-dit:dbcache": {"threshold": 0.3, "warmup": 3},
    "cache-dit:dbcache-taylor": {"threshold": 0.3, "warmup": 3},
    "cache-dit:dbcache-dmd": {"threshold": 0.3, "warmup": 5},
    "cache-dit:dbcache-foca": {"threshold": 0.3, "warmup": 3},
}


def plan_of(name: str, steps: int = 20) -> Plan:
    """Two branches, but where each needs a model of its own, which WanPipeline has not."""
    guidance = 1.0 if name in APART else 4.0
    values = {"mode": "off", "steps": steps, "prompt": PROMPT, "seed": 3, "guidance": guidance}
    return resolve([Layer("test", values)])


@cache
def tiny() -> TinyPipeline:
    return TinyPipeline(shipped_weights(), device="cpu")


def wan_pipeline() -> Any:
    from backends.tiny.export import in_diffusers

    pipe = in_diffusers(tiny())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def uncached(plan: Plan) -> Tensor:
    if (plan.steps, plan.guidance) not in _uncached:
        _uncached[plan.steps, plan.guidance] = make_video(wan_pipeline(), plan)
    return _uncached[plan.steps, plan.guidance]


_uncached: dict[tuple[int, float], Tensor] = {}


@cache
def shares() -> list[float]:
    pipe = wan_pipeline()
    return count_shares(pipe.transformer, lambda: make_video(pipe, plan_of(APART[0]).uncached(steps=1)))


def metered(pipe: Any, plan: Plan) -> tuple[Tensor, Totals, list[bool]]:
    meter = PeerMeter([pipe.transformer], shares(), plan)
    video = make_video(pipe, plan)
    return video, meter.totals(PeakMemory().read()), [step.computed for step in meter.step_reports()]


def all_peers() -> list[Any]:
    reason = "pip install 'navicache[peers]' to test it"
    return [
        pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason=reason)) for name in LENIENT
    ]


def test_every_peer_is_tried():
    assert set(LENIENT) == set(PEERS) - {"diffusers:off"}


@pytest.mark.parametrize("name", all_peers())
def test_a_peer_does_the_same_in_both(name):
    plan, setting = plan_of(name), peer_setting("test", name, LENIENT[name])
    knobs = {knob: value for knob, value in setting.arguments.items() if knob != "peer"}
    pipe = wan_pipeline()
    with switched_on([pipe.transformer], name, knobs, plan):
        video, sums, computed = metered(pipe, plan)
    theirs = PeerRunner(tiny(), setting.runner).run(plan, setting)
    assert sums.compute_ratio == pytest.approx(theirs.totals.compute_ratio, abs=1e-6)
    assert computed == [step.computed for step in theirs.steps]
    assert sums.cache_bytes == theirs.totals.cache_bytes
    assert psnr(to_uint8(video), theirs.frames) > 45
    assert 0.2 < sums.compute_ratio < 0.9
    assert psnr(to_uint8(video), to_uint8(uncached(plan))) < 60


@pytest.mark.parametrize("name", all_peers())
def test_nothing_is_left_behind(name):
    """Switched off, the pipeline is what it was; switched on again, so is the peer."""
    plan = plan_of(name, steps=8)
    knobs = {**PEERS[name].knobs, **LENIENT[name]}
    pipe = wan_pipeline()
    with switched_on([pipe.transformer], name, knobs, plan):
        first = make_video(pipe, plan)
    assert not torch.equal(first, uncached(plan))
    assert torch.equal(make_video(pipe, plan), uncached(plan))
    with switched_on([pipe.transformer], name, knobs, plan):
        assert torch.equal(make_video(pipe, plan), first)


def test_a_forward_that_is_not_called_is_no_work():
    """What `navicache.cached` skips never reaches the model; scripts/measure_exported.py counts on it."""
    plan, pipe = plan_of("navicache"), wan_pipeline()
    with navicache.cached(pipe, speedup=2):
        _, sums, _ = metered(pipe, plan)
    assert sums.compute_ratio == pytest.approx(0.5)
