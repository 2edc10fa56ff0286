"""While a video is decoded, the cache keeps nothing: the decoder needs the memory."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from backends.protocol import Stages
from backends.registry import get_backend
from navicache_cli.cache import ForwardSite, Session, attach, make_policy
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.report.steps import session_totals
from navicache_cli.run.runner import run
from tests.cache.toys import Tiny, timesteps
from tests.doubles.double import Double
from tests.program import report_of

# Writes what the session of each generation holds: its bytes before and after it is told of the decoder.
TELL = """
import json
from navicache_cli.cache.session.session import Session
release = Session.release
def told(self):
    before = self.cache_bytes
    release(self)
    with open("held.jsonl", "a") as file:
        file.write(json.dumps([before, self.cache_bytes]) + "\\n")
Session.release = told
"""
FEW = ("--steps", "12", "--speedup", "2", "--predictor", "calibrated", "--weights", "random-small")


@pytest.mark.parametrize(
    ("model", "repository", "options"),
    [
        ("wan", "", ("--frames", "5", "--size", "832x480")),
        ("wan2.2", "wan22", ("--frames", "1", "--size", "832x480", "--steps", "20")),
        ("hunyuan", "", ("--frames", "5", "--size", "544x960")),
        ("opensora", "", ("--frames", "17", "--size", "144p", "--aspect-ratio", "1:1")),
        ("opensora", "videosys", ("--frames", "17", "--size", "144p", "--aspect-ratio", "1:1")),
    ],
)
def test_official_decoders_have_the_memory(tmp_path, model, repository, options):
    program = Double(model, repository).program(tmp_path)
    report = report_of(program(*FEW, *options, "--json", before=TELL))
    ((before, after),) = map(json.loads, (tmp_path / "work/held.jsonl").read_text().splitlines())
    assert 0 < before <= report["totals"]["cache_bytes"]
    assert after == 0
    assert report["totals"]["skipped_steps"] == report["totals"]["steps"] // 2


def tiny_plan(**changes):
    return resolve([Layer("test", {"steps": 16, "seed": 3, **changes})])


@pytest.fixture(scope="module")
def tiny():
    return get_backend("tiny").load(tiny_plan())


def facts(done):
    records = [{**asdict(record), "seconds": None} for record in done.session.records]
    recorder = done.session.recorder
    return records, session_totals(done.session), recorder and recorder.trajectory


@pytest.mark.parametrize(
    "changes",
    [
        {"speedup": 2.0, "predictor": "calibrated"},
        {"threshold": 0.1, "align_steps": 4},
        {"method": "taylorseer"},
        {"method": "fbcache"},
        {"method": "pab"},
        {"mode": "off", "trajectory": True},
    ],
)
def test_the_report_is_the_same_without(tiny, monkeypatch, changes):
    plan, held = tiny_plan(**changes), []
    decode = tiny.codec.decode

    def watched(latents):
        held.append(session.cache_bytes)
        return decode(latents)

    def remembered(self, *arguments, **keywords):
        nonlocal session
        session = self
        made(self, *arguments, **keywords)

    session, made = None, Session.__init__
    monkeypatch.setattr(Session, "__init__", remembered)
    monkeypatch.setattr(tiny.codec, "decode", watched)
    done = run(tiny, plan)
    monkeypatch.setattr(Session, "release", lambda self: None)
    kept = run(tiny, plan)
    assert facts(done) == facts(kept)
    assert torch.equal(done.video, kept.video)
    assert held[0] == 0
    # A residual goes as soon as a step is computed, a broadcast output once no later step reads it: both
    # before the last step is over.
    assert (held[1] > 0) != ("threshold" in changes or changes.get("method") == "pab")


def test_a_preview_before_the_last_step_takes_nothing_away():
    def decisions(preview):
        session, x = Session(make_policy("navicache", threshold=0.3, align_steps=2), 12), torch.ones(24)
        stages, model = Stages(before_decode=session.release), Tiny()
        with attach(ForwardSite(model), session):
            for i, t in enumerate(timesteps(12)):
                model(x * (1 + t), torch.tensor(t))
                if preview and i == 5:
                    stages.start("decode")
                    stages.start("denoise")
        return [record.computed for record in session.records]

    assert decisions(preview=True) == decisions(preview=False)
    assert False in decisions(preview=True)[6:]
