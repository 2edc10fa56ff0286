"""The official HunyuanVideo sampler through its own loop; see conftest.py."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.run.runner import run
from tests.repos.following import (
    Observer,
    assert_every_step_ran,
    assert_like_off_but_for_its_skips,
    assert_residual_reused,
    decisions_of_the_oracle,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning")
BLOCKS = 4  # of the small random transformer: two of each kind
MODES = ("fast", "mid", "slow")


def bare(hunyuan, plan):
    """The official call, written out once more, with nothing of ours around it."""
    made = hunyuan.sampler.predict(
        prompt=plan.prompt, height=64, width=96, video_length=plan.frames, seed=plan.seed,
        negative_prompt=plan.negative_prompt, infer_steps=plan.steps, guidance_scale=plan.guidance,
        flow_shift=plan.shift, batch_size=1, embedded_guidance_scale=plan.embedded_guidance,
    )  # fmt: skip
    return made["samples"]


CASES = [
    {},
    {"guidance": "3"},
    {"guidance": "3", "negative_prompt": "ugly"},
    {"frames": "1", "seed": "7"},
    {"shift": "1", "embedded_guidance": "1"},
]


@pytest.mark.parametrize("options", CASES)
def test_off_equals_the_bare_pipeline(hunyuan, hunyuan_plan_of, options):
    plan = hunyuan_plan_of(mode="off", **options)
    ours = run(hunyuan, plan)
    theirs = bare(hunyuan, plan)
    assert torch.equal(ours.video, theirs.reshape(ours.video.shape) * 2 - 1)
    assert_every_step_ran(ours, (3, plan.frames, 64, 96), calls=plan.steps)


def only_x(output):
    assert set(output) == {"x"}
    return output["x"]


def observe(hunyuan):
    model = hunyuan.sampler.pipeline.transformer
    return Observer(model, model, (*model.double_blocks, *model.single_blocks), read_output=only_x)


@pytest.mark.shows("modes", "hunyuan t2v-544p")
@pytest.mark.parametrize("estimator", ["scalar", "dual"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", CASES[:2])
def test_decisions_equal_the_oracle(hunyuan, hunyuan_plan_of, options, mode, estimator):
    plan = hunyuan_plan_of(mode=mode, estimator=estimator, **options)
    with observe(hunyuan) as seen:
        done = run(hunyuan, plan)
    records = done.session.records
    assert seen.calls[0][0].shape[0] == (2 if options else 1), "guidance is one batched forward"
    decisions = decisions_of_the_oracle(plan, seen.calls, records)
    assert [record.computed for record in records] == decisions
    assert done.session.transformer_calls == sum(decisions)


@pytest.mark.parametrize("options", CASES[:2])
def test_skipped_steps_run_no_block_and_reuse_the_residual(hunyuan, hunyuan_plan_of, options):
    plan = hunyuan_plan_of(threshold="0.3", **options)
    with observe(hunyuan) as seen:
        done = run(hunyuan, plan)
    computed = [record.computed for record in done.session.records]
    assert 2 <= computed.count(False) < plan.steps - plan.align_steps
    assert seen.ran == [step for step, fine in enumerate(computed) if fine for _ in range(BLOCKS)]
    assert_residual_reused(seen.calls, computed)
    assert torch.isfinite(done.video).all()


@pytest.mark.parametrize("mode", MODES)
def test_modes_differ_from_off_but_not_by_much(hunyuan, hunyuan_plan_of, mode):
    assert_like_off_but_for_its_skips(hunyuan, hunyuan_plan_of, mode)


def test_prompts_guidance_and_seed_matter(hunyuan, hunyuan_plan_of):
    plan = hunyuan_plan_of(steps="4", mode="off", guidance="3")
    video = run(hunyuan, plan).video
    for other in (
        replace(plan, prompt="another"),
        replace(plan, negative_prompt="ugly"),
        replace(plan, seed=1),
        replace(plan, guidance=1.0),
        replace(plan, embedded_guidance=1.0),
        replace(plan, shift=3.0),
    ):
        assert not torch.equal(video, run(hunyuan, other).video)


def test_everything_is_as_it_was_afterwards(hunyuan, hunyuan_plan_of):
    parts = hunyuan.sampler.pipeline
    before = dict(vars(parts.vae))
    run(hunyuan, hunyuan_plan_of(steps="3"))
    assert bound_to(parts.transformer) is None
    assert vars(parts.vae) == before
    assert not parts.transformer._forward_pre_hooks
    assert torch.is_grad_enabled(), "the official loader switches gradients off for the process"
    inference = sys.modules["hyvideo.inference"]
    assert inference.torch is torch
    assert inference.load_model is sys.modules["hyvideo.modules"].load_model
    assert isinstance(vars(inference.Inference)["load_state_dict"], staticmethod)
