"""The official Open-Sora 1.2 classes at toy size on a CPU, through the official samplers.

Enabled by NAVICACHE_OPENSORA_REPO=<a checkout of hpcaitech/Open-Sora at v1.2.0> and by
NAVICACHE_VIDEOSYS_REPO=<one of NUS-HPC-AI-Lab/VideoSys>, each for its own tests; needs mmengine, timm,
rotary_embedding_torch, ftfy, beautifulsoup4, pandas, av and opencv-python.
"""

from __future__ import annotations

import importlib
import logging
import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from backends.opensora import OpenSoraBackend
from backends.opensora.pipeline import architecture_of
from backends.opensora.videosys import one_process_world
from navicache_cli.cache import Region, Session, attach, make_policy
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.errors import SiteError
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import load_presets
from navicache_cli.run.runner import run
from tests.opensora_reference import self_attention
from tests.repos.checkouts import checkout_of
from tests.repos.following import (
    Observer,
    assert_every_step_ran,
    assert_residual_reused,
    decisions_of_the_oracle,
)

STEPS, LAYERS = 18, 3
VARIABLES = {"opensora": "NAVICACHE_OPENSORA_REPO", "videosys": "NAVICACHE_VIDEOSYS_REPO"}
TITLES = {"opensora": "hpcaitech/Open-Sora at v1.2.0", "videosys": "NUS-HPC-AI-Lab/VideoSys"}


def repository_of(route):
    return checkout_of(VARIABLES[route], TITLES[route])


@pytest.fixture(scope="module", params=VARIABLES)
def route(request):
    repository_of(request.param)
    return request.param


def plan_of(route, **options):
    """A plan at 192×192 pixels, the smallest square, with few steps aligned."""
    flags = {
        "model": "opensora", "weights": "random-small", "repo": repository_of(route), "steps": str(STEPS),
        "align_steps": "4", "size": "144p", "aspect_ratio": "1:1", "frames": "17",
    }  # fmt: skip
    return build_plan({**flags, **options}, [], None, {})


@pytest.fixture(scope="module")
def load():
    from tests.doubles.standins import put_torchvision_in_place

    put_torchvision_in_place()
    loaded = {}

    def get(route):
        if route not in loaded:
            loaded[route] = OpenSoraBackend().load(plan_of(route))
        return loaded[route]

    return get


def bare(route, pipeline, plan):
    """The official calls, written out once more, with nothing of ours around them."""
    name, ratio = ("144p", "1:1") if plan.size == "192x192" else ("240p", "9:16")
    if route == "videosys":
        official = pipeline.route.official
        official.scheduler.num_sampling_steps, official.scheduler.cfg_scale = plan.steps, plan.guidance
        with one_process_world():
            output = official.generate(
                prompt=plan.prompt, resolution=name, aspect_ratio=ratio, num_frames=plan.frames,
                seed=plan.seed,
            )  # fmt: skip
        return output.video[0]
    return bare_opensora(pipeline.route, plan, name, ratio)


@torch.no_grad()
def bare_opensora(parts, plan, name, ratio):
    """As scripts/inference.py does for one prompt, all its steps."""
    from opensora.datasets.aspect import get_image_size
    from opensora.models.text_encoder.t5 import text_preprocessing
    from opensora.registry import SCHEDULERS, build_module
    from opensora.utils import inference_utils as official

    config = {"type": "rflow", "num_sampling_steps": plan.steps, "cfg_scale": plan.guidance}
    scheduler = build_module({**config, "use_timestep_transform": True}, SCHEDULERS)
    size = get_image_size(name, ratio)
    prompts, references, masks = official.extract_json_from_prompts([plan.prompt], [""], [""])
    references = official.collect_references_batch(references, parts.vae, size)
    arguments = official.prepare_multi_resolution_info(
        "STDiT2", 1, size, plan.frames, 24, "cpu", torch.float32
    )
    segments, loops = official.split_prompt(prompts[0])
    segments = official.append_score_to_prompts(segments, aes=6.5, flow=None, camera_motion=None)
    merged = official.merge_prompt([text_preprocessing(segment) for segment in segments], loops)
    prompts = official.extract_prompts_loop([merged], 0)
    torch.manual_seed(plan.seed)
    z = torch.randn(1, parts.vae.out_channels, *parts.vae.get_latent_size((plan.frames, *size)))
    masks = official.apply_mask_strategy(z, references, masks, 0, align=5)
    samples = scheduler.sample(
        parts.transformer, parts.text_encoder, z=z, prompts=prompts, device="cpu", additional_args=arguments,
        progress=False, mask=masks,
    )  # fmt: skip
    return parts.vae.decode(samples, num_frames=plan.frames)[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance": "1"},
        {"frames": "image", "seed": "7"},
        {"frames": "20", "steps": "5", "size": "240p", "aspect_ratio": "9:16"},
    ],
)
def test_off_equals_the_bare_pipeline(load, route, options):
    pipeline, plan = load(route), plan_of(route, mode="off", **options)
    ours, theirs = run(pipeline, plan), bare(route, pipeline, plan)
    if route == "videosys":
        assert theirs.dtype == torch.uint8
        assert torch.equal(((ours.video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0), theirs)
    else:
        assert torch.equal(ours.video, theirs.clamp(-1, 1))
    # The VAE works on whole cells of 8×8; one batched forward a step.
    shape = (3, plan.frames, plan.height // 8 * 8, plan.width // 8 * 8)
    assert_every_step_ran(ours, shape, calls=plan.steps)


def observe(pipeline):
    """The stack of blocks; a block that is skipped is called too, but not the attention in it."""
    model = pipeline.route.transformer
    pairs = zip(model.spatial_blocks, model.temporal_blocks, strict=True)
    blocks = [block for pair in pairs for block in pair]
    return Observer(blocks[0], blocks[-1], [block.attn for block in blocks])


@pytest.mark.shows("modes", "opensora t2v")
@pytest.mark.parametrize("mode", ["fast", "mid", "slow"])
@pytest.mark.parametrize("options", [{}, {"guidance": "1"}, {"estimator": "dual"}])
def test_decisions_equal_the_oracle(load, route, mode, options):
    pipeline, plan = load(route), plan_of(route, mode=mode, **options)
    with observe(pipeline) as seen:
        done = run(pipeline, plan)
    decisions = decisions_of_the_oracle(plan, seen.calls, done.session.records)
    assert [record.computed for record in done.session.records] == decisions
    assert done.session.transformer_calls == sum(decisions) < plan.steps


@pytest.mark.parametrize("options", [{}, {"guidance": "1"}, {"frames": "1"}])
def test_skipped_steps_run_no_block_and_reuse_the_residual(load, route, options):
    pipeline, plan = load(route), plan_of(route, **options)
    model = pipeline.route.transformer
    around = Observer(model, model, (model.x_embedder, model.final_layer))
    with observe(pipeline) as seen, around:
        done = run(pipeline, plan)
    computed = [record.computed for record in done.session.records]
    assert 2 <= computed.count(False) < plan.steps - plan.align_steps
    assert around.ran == [step for step in range(plan.steps) for _ in range(2)], "both run at every step"
    assert seen.ran == [step for step, fine in enumerate(computed) if fine for _ in range(2 * LAYERS)]
    assert all(x.shape[0] == 2 for x, _ in seen.calls), "both branches in one forward"
    assert_residual_reused(seen.calls, computed, near=1e-5)
    assert torch.isfinite(done.video).all()


def test_everything_is_as_it_was_afterwards(load, route):
    pipeline, root = load(route), logging.getLogger()
    vae, handlers, disabled = dict(vars(pipeline.route.vae)), root.handlers[:], logging.root.manager.disable
    run(pipeline, plan_of(route, steps="3"))
    assert all(bound_to(module) is None for module in pipeline.route.transformer.modules())
    assert not pipeline.route.transformer._forward_pre_hooks
    assert vars(pipeline.route.vae).keys() == vae.keys()
    assert (root.handlers, logging.root.manager.disable) == (handlers, disabled)
    assert not {"colossalai", "xformers"} & set(sys.modules), "the placeholders are gone"


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("stack", ["spatial_blocks", "temporal_blocks"])
@pytest.mark.parametrize(("batch", "tokens"), [(2, 40), (40, 12)])
def test_self_attention_equals_float64(load, route, stack, batch, tokens, dtype, near):
    """With norms and, along time, the rotary embedding of the official code."""
    module = deepcopy(getattr(load(route).route.transformer, stack)[0].attn).to(dtype)
    assert bool(module.rope) == (stack == "temporal_blocks")
    x = torch.randn(batch, tokens, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        assert (module(x).double() - self_attention(module, x)).abs().max() < near


def test_self_attention_holds_no_scores(load, route):
    """Where sequences are long, neither official code takes a softmax of its own."""

    class NoSoftmax(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            assert "softmax" not in function.__name__
            return function(*args, **(kwargs or {}))

    module = load(route).route.transformer.spatial_blocks[0].attn
    with torch.no_grad(), NoSoftmax():
        module(torch.randn(2, 40, 64))
    with torch.no_grad(), pytest.raises(AssertionError), NoSoftmax():
        module(torch.randn(40, 12, 64))


def test_prompt_seed_and_steps_matter(load, route):
    pipeline, plan = load(route), plan_of(route, steps="4", mode="off")
    video = run(pipeline, plan).video
    assert torch.equal(video, run(pipeline, plan).video)
    for change in ({"prompt": "another"}, {"seed": 1}, {"steps": 5}, {"guidance": 3.0}):
        assert not torch.equal(video, run(pipeline, replace(plan, **change)).video)


def test_a_changed_structure_is_found_when_attaching(load, route):
    model = load(route).route.transformer
    session = Session(make_policy("navicache", threshold=0.1, align_steps=1, estimator="scalar"), 4)
    blocks = model.temporal_blocks
    model.temporal_blocks = blocks[:2]
    try:
        with pytest.raises(SiteError, match="as many spatial_blocks as temporal_blocks, found 3 and 2"):
            architecture_of(model)
    finally:
        model.temporal_blocks = blocks
    model.spatial_blocks[0].forward = lambda hidden, *args: hidden
    try:
        with pytest.raises(SiteError, match=r"expected a parameter 'x', found \(hidden"):
            attach(architecture_of(model).site(Region.OWN), session).__enter__()
    finally:
        del model.spatial_blocks[0].forward


def test_the_names_are_the_official_ones(load, route):
    load(route)
    module = "opensora.datasets.aspect"
    if route == "videosys":
        module = "videosys.pipelines.open_sora.data_process"
    else:
        importlib.import_module(module)
    official, preset = sys.modules[module], load_presets()["opensora"]
    assert set(preset.aspect_ratios) == set(official.ASPECT_RATIO_MAP)
    for name, sizes in preset.named_sizes.items():
        for ratio, size in zip(preset.aspect_ratios, sizes, strict=True):
            height, width = official.get_image_size(name, ratio)
            assert size == f"{width}x{height}"
    frames = {name: number for name, number in preset.named_frames.items() if name != "image"}
    assert frames == official.NUM_FRAMES_MAP


def test_the_default_architecture_is_xl(load, route):
    """What `--weights random` builds: the defaults of the official config."""
    config = type(load(route).route.transformer).config_class()
    assert (config.depth, config.hidden_size, config.num_heads) == (28, 1152, 16)
    assert (config.patch_size, config.qk_norm, config.caption_channels) == ((1, 2, 2), True, 4096)


@pytest.mark.parametrize(("frames", "fine"), [(1, True), (2, False), (16, False), (17, True)])
def test_why_some_lengths_are_refused(load, route, frames, fine):
    load(route)
    module = (
        "schedulers.rf.rectified_flow" if route == "opensora" else "schedulers.scheduling_rflow_open_sora"
    )
    size = {key: torch.tensor([float(value)]) for key, value in (("height", 192), ("width", 192))}
    transform = sys.modules[f"{route}.{module}"].timestep_transform
    times = [
        transform(
            torch.tensor([t]), {**size, "num_frames": torch.tensor([float(frames)])}, num_timesteps=1000
        )
        for t in (1000.0, 500.0)
    ]
    assert (bool(torch.isfinite(torch.cat(times)).all()) and times[0] > times[1]) == fine


def test_both_repositories_make_the_same_video(load):
    """They are two copies of one model: the same weights, noise and text give nearly the same pixels."""
    plans = {route: plan_of(route, mode="off") for route in VARIABLES}
    ours, theirs = (run(load(route), plan).video for route, plan in plans.items())
    assert (ours - theirs).abs().mean() < 0.01
