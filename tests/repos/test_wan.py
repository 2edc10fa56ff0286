"""The official Wan2.1 pipelines through their own sampler loop; see conftest.py."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from backends.wan.tasks import TASKS
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.run.runner import run
from tests.repos.following import (
    OUTSIDE_OUR_FILTER,
    Observer,
    assert_every_step_ran,
    assert_like_off_but_for_its_skips,
    assert_residual_reused,
    decisions_of_the_oracle,
)

pytestmark = OUTSIDE_OUR_FILTER
LAYERS = 3  # of the small random transformer
MODES = ("fast", "mid", "slow")


def bare(pipeline, plan):
    """The official call, written out once more, with nothing of ours around it."""
    from PIL import Image

    where = {"size": (plan.width, plan.height)}
    if plan.task == "vace-1.3B":
        sources = (
            [plan.source_video or None],
            [plan.source_mask or None],
            [plan.reference_images.split(", ") if plan.reference_images else None],
        )
        images = pipeline.official.prepare_source(*sources, plan.frames, (832, 480), "cpu")
    else:
        images = [Image.open(getattr(plan, option)).convert("RGB") for option in TASKS[plan.task].pictures]
        where = {"max_area": 96 * 64} if images else where
    return pipeline.official.generate(
        plan.prompt, *images, **where, frame_num=plan.frames, shift=plan.shift, sample_solver=plan.solver,
        sampling_steps=plan.steps, guide_scale=plan.guidance, seed=plan.seed, offload_model=False,
    )  # fmt: skip


CASES = [
    ("t2v-1.3B", {}),
    ("t2v-1.3B", {"solver": "dpm++"}),
    ("t2v-1.3B", {"guidance": "1"}),
    ("t2v-1.3B", {"shift": "1", "seed": "7"}),
    ("t2v-14B", {}),
    ("t2i-14B", {}),
    ("i2v-14B", {}),
    ("i2v-14B", {"solver": "dpm++", "size": "832x480"}),
    ("flf2v-14B", {"steps": "6"}),
    ("vace-1.3B", {"steps": "3"}),
]


@pytest.mark.parametrize(("task", "options"), CASES)
def test_off_equals_the_bare_pipeline(load, plan_of, task, options):
    pipeline, plan = load(task), plan_of(task, mode="off", **options)
    ours = run(pipeline, plan)
    assert torch.equal(ours.video, bare(pipeline, plan))
    assert_every_step_ran(ours, (3, plan.frames, plan.height, plan.width), calls=2 * plan.steps)


@pytest.mark.parametrize("masked", [True, False])
def test_vace_changes_a_source_video(load, plan_of, source_video, masked):
    pytest.importorskip("decord", reason="pip install decord: the official code reads source videos by it")
    given = source_video if masked else {**source_video, "source_mask": ""}
    options = {"steps": "3", "reference_images": "", **given}
    pipeline, plan = load("vace-1.3B"), plan_of("vace-1.3B", mode="off", **options)
    video = run(pipeline, plan).video
    assert video.shape == (3, 5, 480, 832)
    assert torch.equal(video, bare(pipeline, plan))
    assert not torch.equal(video, run(pipeline, plan_of("vace-1.3B", mode="off", steps="3")).video)


def only(tensors):
    """The tensor in a list of one, as the official forward takes and returns it."""
    (tensor,) = tensors
    return tensor


def observe(pipeline):
    model = pipeline.official.model
    return Observer(model, model, model.blocks, read_input=only, read_output=only)


@pytest.mark.shows("modes", "wan t2v-1.3B", "wan i2v-14B", "wan flf2v-14B", "wan vace-1.3B")
@pytest.mark.parametrize("estimator", ["scalar", "dual"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        *CASES[:3],
        CASES[6],
        ("flf2v-14B", {"steps": "9", "align_steps": "2"}),
        ("vace-1.3B", {"steps": "7", "align_steps": "2"}),
    ],
)
def test_decisions_equal_the_oracle(load, plan_of, task, options, mode, estimator):
    pipeline, plan = load(task), plan_of(task, mode=mode, estimator=estimator, **options)
    with observe(pipeline) as seen:
        done = run(pipeline, plan)
    records = done.session.records
    decisions = decisions_of_the_oracle(plan, seen.calls[::2], records)
    assert [record.computed for record in records] == decisions
    assert done.session.transformer_calls == 2 * sum(decisions)


@pytest.mark.parametrize(
    ("task", "options"), [*CASES[:3], CASES[6], ("vace-1.3B", {"steps": "7", "align_steps": "2"})]
)
def test_skipped_steps_run_no_block_and_reuse_the_residual(load, plan_of, task, options):
    pipeline, plan = load(task), plan_of(task, threshold="0.3", **options)
    with observe(pipeline) as seen:
        done = run(pipeline, plan)
    computed = [record.computed for record in done.session.records]
    assert 2 <= computed.count(False) < plan.steps - plan.align_steps
    calls = [call for call, fine in enumerate(fine for step in computed for fine in (step, step)) if fine]
    assert seen.ran == [call for call in calls for _ in range(LAYERS)]
    for branch in (0, 1):
        assert_residual_reused(seen.calls[branch::2], computed)
    assert torch.isfinite(done.video).all()


@pytest.mark.parametrize("mode", MODES)
def test_modes_differ_from_off_but_not_by_much(load, plan_of, mode):
    assert_like_off_but_for_its_skips(load(), plan_of, mode)


def test_everything_is_as_it_was_afterwards(load, plan_of):
    pipeline = load()
    module, before = sys.modules["wan.text2video"], dict(vars(pipeline.official.vae))
    tqdm, progress = module.tqdm, sys.modules["tqdm"].tqdm
    run(pipeline, plan_of(steps="3"))
    assert tqdm is progress
    assert module.tqdm is tqdm
    assert module.torch is torch
    assert bound_to(pipeline.official.model) is None
    assert vars(pipeline.official.vae) == before
    assert not pipeline.official.model._forward_pre_hooks


def test_prompt_seed_and_picture_matter(load, plan_of, pictures):
    pipeline = load("i2v-14B")
    plan = plan_of("i2v-14B", steps="4", mode="off")
    video = run(pipeline, plan).video
    for other in (
        replace(plan, prompt="another"),
        replace(plan, negative_prompt="ugly"),
        replace(plan, seed=1),
        replace(plan, image=pictures["last_image"]),
    ):
        assert not torch.equal(video, run(pipeline, other).video)
