"""The cache on the real miniature: equations, residuals, bit-identity, and no trace left behind."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch

from backends.protocol import Stages
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.solvers import SOLVERS
from navicache_cli.cache.policies.factory import METHOD_SETTINGS
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.report.documents import plain
from navicache_cli.report.steps import step_reports
from navicache_cli.run.generation import run_plan
from navicache_cli.run.runner import run, totals
from tests.cache import oracle
from tests.outside import watched


@pytest.fixture(scope="module")
def pipeline() -> TinyPipeline:
    return TinyPipeline(shipped_weights())


def plan_of(**changes) -> Plan:
    return resolve([Layer("test", {"steps": 24, "align_steps": 5, "threshold": 0.1, "seed": 3, **changes})])


def norm(tensor: torch.Tensor) -> float:
    return float(tensor.abs().mean())


@pytest.mark.shows("modes", "tiny t2v")
@pytest.mark.parametrize(
    ("changes", "estimator"),
    [
        ({}, "scalar"),
        ({"estimator": "dual"}, "dual"),
        ({"method": "easycache"}, "hold"),
        ({"solver": "dpm++", "threshold": 0.2}, "scalar"),
        ({"guidance": 1.0}, "scalar"),
    ],
)
def test_a_real_generation_follows_the_equations(pipeline, changes, estimator):
    """Watch every call from outside, and compute all norms and decisions again in float64."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watch(module, args, call):
        output = call()
        if module is pipeline.transformer:
            calls.append((args[0][0], output[0]))
        return output

    plan = plan_of(**changes)
    with watched(watch):
        records = run(pipeline, plan).session.records
    branches = 1 if plan.guidance == 1 else 2
    assert len(calls) == branches * plan.steps
    gate = oracle.Gate(plan.threshold, plan.align_steps, plan.steps, estimator)
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    previous = None
    for i, record in enumerate(records):
        x, y = (u.double() for u in calls[branches * i])
        row = gate.decide(i, None if previous is None else norm(x - previous))
        assert row.forced or abs(row.error - plan.threshold) > 1e-6, "too near to call; choose another seed"
        assert (record.computed, record.decision.forced) == (row.compute, row.forced)
        assert record.decision.accumulated_error == pytest.approx(row.error, rel=1e-4)
        assert record.decision.ratio == (None if row.k is None else pytest.approx(row.k, rel=1e-4))
        if row.compute:
            spans = (norm(x - kept[0][0].double()), norm(y - kept[0][1].double())) if kept else (None, None)
            innovation = gate.measure(i, *spans, norm(y))
            assert record.innovation == (None if innovation is None else pytest.approx(innovation, abs=1e-4))
        for branch in range(branches):
            x_i, y_i = calls[branches * i + branch]
            if row.compute:
                kept[branch] = (x_i, y_i)
            else:
                x_c, y_c = kept[branch]
                assert torch.equal(y_i, x_i + (y_c - x_c))
        previous = x
    assert 3 <= sum(not record.computed for record in records) <= plan.steps - plan.align_steps - 1


def test_off_is_bit_identical_to_the_bare_model(pipeline):
    plan = plan_of(mode="off", method="off")
    bare = pipeline.generate(plan, Stages())
    result = run(pipeline, plan)
    assert torch.equal(result.video, bare)
    assert result.session.peak_cache_bytes == 0
    assert totals(result).transformer_calls == 2 * plan.steps


def test_generations_do_not_know_of_each_other(pipeline):
    plan = plan_of()
    first = run(pipeline, plan)
    other = run(pipeline, replace(plan, seed=9, steps=11, guidance=1.0))
    again = run(pipeline, plan)
    assert torch.equal(first.video, again.video)
    assert len(other.session.records) == 11

    def untimed(result):
        return [{**plain(step), "seconds": None} for step in step_reports(result.session)]

    assert untimed(first) == untimed(again)


SOME = (
    {"mode": "off", "method": "off"},
    {},
    {"predictor": "calibrated", "threshold": 0.0, "speedup": 1.5},
    {"method": "easycache", "predictor": "hold"},
    *({"method": method} for method in METHOD_SETTINGS),
)


@pytest.mark.parametrize(
    ("changes", "solver"),
    [
        # A method knows nothing of the solver.
        pytest.param(changes, solver, marks=[pytest.mark.slow] if changes and solver != SOLVERS[0] else [])
        for changes in SOME
        for solver in SOLVERS
    ],
    ids=lambda given: (
        given if isinstance(given, str) else given.get("method") or given.get("predictor", "navicache")
    ),
)
def test_a_seed_gives_the_same_video_on_any_number_of_threads(pipeline, changes, solver):
    """To the last bit: one pixel that is rounded to the other side makes the encoder choose otherwise."""
    methods_own = changes.get("method") in METHOD_SETTINGS
    base = {} if methods_own else {"align_steps": 3, "threshold": 0.1}
    plan = resolve([Layer("test", {"steps": 8, "seed": 3, **base, **changes, "solver": solver})])
    threads = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            runs.append(run(pipeline, plan))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    one, two = runs
    assert [asdict(r) | {"seconds": None} for r in one.session.records] == [
        asdict(r) | {"seconds": None} for r in two.session.records
    ]
    assert torch.equal(one.video, two.video)


def test_an_aborted_generation_leaves_no_trace(pipeline):
    before = dict(pipeline.transformer.__dict__)

    def stop(record):
        if record.index == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline, plan_of(), on_step=stop)
    assert pipeline.transformer.__dict__ == before
    assert torch.equal(run(pipeline, plan_of()).video, run(pipeline, plan_of()).video)


def test_skipped_steps_call_no_block(pipeline):
    called = []
    watch = pipeline.transformer.blocks[0].register_forward_hook(lambda *_: called.append(1))
    try:
        result = run(pipeline, plan_of())
    finally:
        watch.remove()
    sums = totals(result)
    assert len(called) == sums.transformer_calls == 2 * sums.computed_steps
    assert sums.transformer_calls_saved == 2 * sums.skipped_steps > 0
    assert result.session.cache_bytes == 0


def test_stages_are_timed(pipeline):
    done = run(pipeline, plan_of())
    for seconds in (done.seconds, done.cpu_seconds):
        assert set(seconds) == {"text", "denoise", "decode"}
        assert seconds["denoise"] > seconds["decode"]
        assert seconds["denoise"] > seconds["text"]


def test_a_run_does_not_inherit_the_memory_of_those_before_it(pipeline):
    bytearray(300 * 2**20)
    peak = run(pipeline, plan_of()).peak_memory
    bytearray(300 * 2**20)
    assert peak.of == "process" or run(pipeline, plan_of()).peak_memory.bytes < peak.bytes + 100 * 2**20


def test_runs_that_are_compared_are_warmed_up_once(pipeline, monkeypatch):
    """Neither of the first two pays for first calls, and nobody waits for what is warm."""
    monkeypatch.setattr("navicache_cli.run.runner._warm", set())
    asked = []

    def watch(name, steps):
        asked.append((name, steps))
        return nullcontext(lambda record: None)

    plan = plan_of(steps=6)
    title = f"tiny {plan.pace}"
    run_plan(pipeline, replace(plan, baseline=True), watch)
    assert asked == [("warm-up", 4), (title, plan.steps), ("uncached", plan.steps)]
    asked.clear()
    run_plan(pipeline, replace(plan, baseline=True, seed=5), watch)
    assert [name for name, _ in asked] == [title, "uncached"]
    asked.clear()
    run_plan(pipeline, replace(plan, baseline=True, frames=9), watch)
    assert [name for name, _ in asked] == ["warm-up", title, "uncached"]
    asked.clear()
    monkeypatch.setattr("navicache_cli.run.runner._warm", set())
    run_plan(pipeline, plan, watch)
    assert [name for name, _ in asked] == [title], "nothing is compared"
