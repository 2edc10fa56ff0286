"""The official Wan2.1 pipelines through their own sampler loop; see conftest.py."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from backends.wan.tasks import TASKS
from navicache_cli.runner import run
from tests.repos.following import decisions_of_the_oracle

pytestmark = [
    # The bare pipeline and the checkout's other classes run outside our filter.
    pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning"),
]
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
    assert ours.video.dtype == torch.float32
    assert ours.video.shape == (3, plan.frames, plan.height, plan.width)
    assert ours.video.std() > 0.1, "a picture, not one colour"
    assert ours.session.transformer_calls == 2 * plan.steps
    assert ours.session.transformer_calls_saved == 0
    assert set(ours.seconds) == {"text", "denoise", "decode"}
    assert min(ours.seconds.values()) > 0


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


class Observer:
    """Records what goes in and out of the transformer, and how often its blocks run."""

    def __init__(self, model):
        self.calls, self.blocks = [], []
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
            *(
                block.register_forward_hook(lambda *_: self.blocks.append(len(self.calls)))
                for block in model.blocks
            ),
        ]

    def _before(self, module, args, kwargs):
        (x,) = args[0]
        self._x = x.detach().clone()

    def _after(self, module, args, output):
        (y,) = output
        self.calls.append((self._x, y.detach().clone()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for hook in self._hooks:
            hook.remove()

    def branch(self, number):
        return self.calls[number::2]


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
    with Observer(pipeline.official.model) as seen:
        done = run(pipeline, plan)
    records = done.session.records
    decisions = decisions_of_the_oracle(plan, seen.branch(0), records)
    assert [record.computed for record in records] == decisions
    assert done.session.transformer_calls == 2 * sum(decisions)


@pytest.mark.parametrize(
    ("task", "options"), [*CASES[:3], CASES[6], ("vace-1.3B", {"steps": "7", "align_steps": "2"})]
)
def test_skipped_steps_run_no_block_and_reuse_the_residual(load, plan_of, task, options):
    pipeline, plan = load(task), plan_of(task, threshold="0.3", **options)
    with Observer(pipeline.official.model) as seen:
        done = run(pipeline, plan)
    computed = [record.computed for record in done.session.records]
    assert 2 <= computed.count(False) < plan.steps - plan.align_steps
    calls = [call for call, fine in enumerate(fine for step in computed for fine in (step, step)) if fine]
    assert seen.blocks == [call for call in calls for _ in range(LAYERS)]
    for branch in (0, 1):
        for (x, y), step in zip(seen.branch(branch), computed, strict=True):
            if step:
                x_c, y_c = x, y
            else:
                assert torch.allclose(y, x + (y_c - x_c), atol=1e-6)
    assert torch.isfinite(done.video).all()


@pytest.mark.parametrize("mode", MODES)
def test_modes_differ_from_off_but_not_by_much(load, plan_of, mode):
    pipeline = load()
    cached = run(pipeline, plan_of(mode=mode))
    again = run(pipeline, plan_of(mode=mode))
    uncached = run(pipeline, plan_of(mode="off"))
    assert torch.equal(cached.video, again.video)
    skipped = cached.session.transformer_calls_saved
    assert (skipped > 0) != torch.equal(cached.video, uncached.video)
    if mode == "fast":
        assert skipped > 0
    assert (cached.video - uncached.video).abs().mean() < 0.2


def test_everything_is_as_it_was_afterwards(load, plan_of):
    pipeline = load()
    module, before = sys.modules["wan.text2video"], dict(vars(pipeline.official.vae))
    tqdm, progress = module.tqdm, sys.modules["tqdm"].tqdm
    run(pipeline, plan_of(steps="3"))
    assert tqdm is progress
    assert module.tqdm is tqdm
    assert module.torch is torch
    assert "forward" not in vars(pipeline.official.model)
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
