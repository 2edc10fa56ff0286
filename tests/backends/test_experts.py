"""A model family with two experts, as Wan2.2: one takes over from the other within a generation."""

from __future__ import annotations

import pytest
import torch

from navicache_cli.cache import ForwardSite, ModelsSite
from navicache_cli.cache.policies.policy import Region
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.compare.work import WorkMeter
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.report.steps import notes_on, predicted_error, step_reports
from navicache_cli.run.runner import run, totals
from tests.cache.toys import Tiny, combine, timesteps

STEPS, BOUNDARY, BRANCHES = 24, 0.6, 2
SIZE = 48  # elements of the latents


class Expert(Tiny):
    """Notes how much the cache holds while it runs."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain
        self.held = []

    def forward(self, x, t, context=0):
        self.held.append(bound_to(self).cache_bytes)
        return self.gain * super().forward(x, t, context)


class TwoExperts:
    """A pipeline whose sampler calls one model above a noise level and another below."""

    identity = None

    def __init__(self):
        self.models = {"high noise": Expert(1.0), "low noise": Expert(-0.5)}
        self.made = []
        self.held = None

    def site(self, region=Region.OWN):
        assert region is Region.OWN
        return ModelsSite({name: ForwardSite(model) for name, model in self.models.items()})

    def generate(self, plan, stages):
        stages.start("text")
        latents = torch.randn(SIZE, generator=torch.Generator().manual_seed(plan.seed))
        stages.start("denoise")
        schedule = timesteps(plan.steps)
        for i, t in enumerate(schedule):
            model = self.models["high noise" if t > BOUNDARY else "low noise"]
            ys = [model(latents, torch.tensor(t), context=b) for b in range(BRANCHES)]
            self.made.append((latents, ys))
            after = schedule[i + 1] if i + 1 < plan.steps else 0.0
            latents = latents + 0.2 * (after - t) * combine(ys)
        self.held = bound_to(model).cache_bytes
        stages.start("decode")
        self.held_by_decoder = bound_to(model).cache_bytes
        stages.start("")
        return latents.reshape(3, 1, 4, 4).clamp(-1, 1)


def plan_of(**changes):
    return resolve([Layer("test", {"steps": STEPS, "seed": 3, **changes})])


FIRST_OF_LOW = next(i for i, t in enumerate(timesteps(STEPS)) if t <= BOUNDARY)


@pytest.mark.parametrize("predictor", ["residual", "calibrated"])
@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_experts_share_a_budget_and_nothing_else(predictor, speedup):
    pipeline = TwoExperts()
    done = run(pipeline, plan_of(speedup=speedup, predictor=predictor))
    records = done.session.records
    assert [record.model for record in records] == [
        "high noise" if t > BOUNDARY else "low noise" for t in timesteps(STEPS)
    ]
    assert records[FIRST_OF_LOW].computed
    assert sum(record.computed for record in records) == round(STEPS / speedup)
    skipped = {record.model for record in records if not record.computed}
    assert skipped == {"high noise", "low noise"}
    # While the first call of the second expert runs, only the copy of its x is held.
    assert pipeline.models["low noise"].held[0] == SIZE * 4
    calls = {name: BRANCHES * sum(r.computed for r in records if r.model == name) for name in pipeline.models}
    assert {name: model.calls for name, model in pipeline.models.items()} == calls
    assert done.session.transformer_calls == sum(calls.values())
    assert pipeline.held_by_decoder == 0
    assert (pipeline.held > 0) == (predictor == "calibrated"), "only that keeps something for the last step"
    assert all(bound_to(model) is None for model in pipeline.models.values())
    if predictor == "residual":
        for (x, ys), record in zip(pipeline.made, records, strict=True):
            if record.computed:
                kept = x, ys
            else:
                for y, y_c in zip(ys, kept[1], strict=True):
                    torch.testing.assert_close(y, x + (y_c - kept[0]))


def test_the_report_is_of_the_whole_generation():
    pipeline = TwoExperts()
    plan = plan_of(speedup=2.0)
    done = run(pipeline, plan)
    assert [step.index for step in step_reports(done.session)] == list(range(STEPS))
    sums, error = totals(done), predicted_error(done.session)
    assert (sums.computed_steps, sums.skipped_steps) == (12, 12)
    assert sums.transformer_calls + sums.transformer_calls_saved == BRANCHES * STEPS
    assert 0 < error.low < error.relative < error.high
    high, low = ([r.computed for r in done.session.records if r.model == name] for name in pipeline.models)
    told = f"high noise {sum(high)} of {len(high)}, low noise {sum(low)} of {len(low)}"
    assert notes_on(done.session) == [f"steps computed: {told}"]
    assert WorkMeter(pipeline).compute_ratio(plan, done.session) == 0.5


def test_off_is_bit_identical_to_the_bare_experts():
    pipeline = TwoExperts()
    video = run(pipeline, plan_of(mode="off")).video
    latents = torch.randn(SIZE, generator=torch.Generator().manual_seed(3))
    schedule, bare = timesteps(STEPS), Tiny()
    for t, after in zip(schedule, [*schedule[1:], 0.0], strict=True):
        gain = 1.0 if t > BOUNDARY else -0.5
        ys = [gain * bare(latents, torch.tensor(t), context=b) for b in range(BRANCHES)]
        latents = latents + 0.2 * (after - t) * combine(ys)
    assert torch.equal(video, latents.reshape(3, 1, 4, 4).clamp(-1, 1))
