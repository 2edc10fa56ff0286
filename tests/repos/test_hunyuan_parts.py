"""What the backend relies on in the official HunyuanVideo code; see conftest.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from navicache_cli.cache import Session, attach, make_policy
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.errors import SiteError, WeightsError
from navicache_cli.plan.plan import build_plan
from navicache_cli.run.runner import run
from tests.repos.following import assert_official_program

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning")


def load_on_cpu(plan):
    """As the backend loads, on a machine without the GPU that real weights ask for."""
    from backends.hunyuan.loading import load_pipeline

    return load_pipeline(plan, torch.device("cpu"))


def test_attention_is_bound_at_every_call_site(hunyuan):
    from backends.official import varlen_attention as ours

    for name in (ours.KERNEL, ours.LENGTHS):
        holders = [
            key for key in sys.modules if key.startswith("hyvideo") and hasattr(sys.modules[key], name)
        ]
        assert "hyvideo.modules.attenion" in holders
        assert all(getattr(sys.modules[key], name) is getattr(ours, name) for key in holders)
    assert sys.modules["hyvideo.modules.models"].get_cu_seqlens is ours.get_cu_seqlens


@pytest.mark.parametrize("valid", [[3], [6], [1, 4], [6, 2]])
def test_bound_attention_equals_the_official_one_with_a_mask(hunyuan, valid):
    """The official `torch` mode, told by a mask which tokens belong together."""
    module = sys.modules["hyvideo.modules.attenion"]
    batch, video, text = len(valid), 5, 6
    size = video + text
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(batch, size, 4, 8, generator=generator) for _ in range(3))
    mask = torch.arange(text)[None] < torch.tensor(valid)[:, None]
    lengths = module.get_cu_seqlens(mask.long(), video)
    assert lengths.shape == (2 * batch + 1,)
    found = module.attention(
        q, k, v, cu_seqlens_q=lengths, cu_seqlens_kv=lengths, max_seqlen_q=size, max_seqlen_kv=size,
        batch_size=batch,
    )  # fmt: skip
    first = torch.cat([torch.ones(batch, video, dtype=torch.bool), mask], dim=1)
    together = (first[:, None, :, None] == first[:, None, None, :]).expand(-1, 4, -1, -1)
    expected = module.attention(q, k, v, mode="torch", attn_mask=together)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_renamed_parameter_is_found_when_attaching(hunyuan):
    model = hunyuan.sampler.pipeline.transformer
    official = model.forward
    model.forward = lambda latents, t, text_states, **others: official(latents, t, text_states, **others)
    try:
        session = Session(make_policy("navicache", threshold=0.1, align_steps=1, estimator="scalar"), 4)
        with pytest.raises(SiteError, match=r"expected a parameter 'x', found .*latents"):
            attach(hunyuan.site(), session).__enter__()
    finally:
        del model.forward


def test_sequence_parallel_forward_keeps_its_place(hunyuan, hunyuan_plan_of):
    """xDiT's forward, bound on the instance by the official code, stays beneath the cache and afterwards."""
    parts = hunyuan.sampler.pipeline
    sys.modules["hyvideo.inference"].parallelize_transformer(parts)
    beneath = parts.transformer.forward
    try:
        session = Session(make_policy("navicache", threshold=0.1, align_steps=1, estimator="scalar"), 4)
        with attach(hunyuan.site(), session):
            assert bound_to(parts.transformer) is session
            assert parts.transformer.forward is beneath
        assert parts.transformer.forward is beneath
    finally:
        del parts.transformer.forward


@pytest.mark.parametrize(("steps", "shift"), [(50, 7.0), (1000, 7.0), (1, 7.0), (1000, 100000.0)])
def test_repeated_timesteps_are_the_official_ones(hunyuan, steps, shift):
    from backends.hunyuan.tasks import repeated_timesteps

    scheduler = sys.modules["hyvideo.inference"].FlowMatchDiscreteScheduler(shift=shift, reverse=True)
    scheduler.set_timesteps(steps, device="cpu")
    repeated = steps - len(set(scheduler.timesteps.tolist()))
    assert repeated_timesteps(steps, shift) == repeated
    assert (repeated > 0) == (shift > 100), "the cases cover both"


def test_official_defaults_and_arguments(hunyuan, hunyuan_plan_of):
    from backends.hunyuan.loading import official_arguments

    config = sys.modules["hyvideo.config"]
    before, sys.argv = sys.argv, ["sample_video.py"]
    try:
        defaults = config.parse_args()
    finally:
        sys.argv = before
    plan = build_plan({"model": "hunyuan"}, [], None, {})
    assert (plan.steps, plan.guidance, plan.embedded_guidance, plan.shift, plan.frames) == (
        defaults.infer_steps, defaults.cfg_scale, defaults.embedded_cfg_scale, defaults.flow_shift,
        defaults.video_length,
    )  # fmt: skip
    plan = hunyuan_plan_of(offload="yes", task="t2v-720p", shift="5", ulysses="2", ring="3")
    arguments = sys.argv
    args = official_arguments(plan, torch.device("cuda"), Path("/w/a.pt"))
    assert sys.argv is arguments
    assert (args.use_cpu_offload, args.use_fp8, args.flow_reverse, args.flow_shift) == (
        True,
        False,
        True,
        5.0,
    )
    assert (args.ulysses_degree, args.ring_degree, args.dit_weight) == (2, 3, "/w/a.pt")
    assert (args.precision, args.model_resolution) == ("bf16", "720p")


def test_what_doctor_knows_of_the_transformer_is_official(hunyuan, hunyuan_plan_of):
    from backends.hunyuan.loading import official_arguments
    from backends.hunyuan.weights import KNOWN_CHANNELS, KNOWN_CONFIG

    args = official_arguments(hunyuan_plan_of(), torch.device("cpu"), Path())
    config = sys.modules["hyvideo.modules"].HUNYUAN_VIDEO_CONFIG[args.model]
    assert KNOWN_CONFIG.items() <= config.items()
    assert args.latent_channels == KNOWN_CHANNELS


@pytest.fixture
def weights(hunyuan, tmp_path, monkeypatch):
    """A folder as ckpts/README.md lays it out, of the small transformer and an official VAE at toy size.

    Text encoders of a fitting size would take gigabytes: their files are empty, and the random ones stand in.
    """
    from safetensors.torch import save_file

    from backends.hunyuan import random_parts

    modules, vae = sys.modules["hyvideo.modules"], sys.modules["hyvideo.vae"]
    configs = {
        key: {**config, **random_parts.SMALL_CONFIG} for key, config in modules.HUNYUAN_VIDEO_CONFIG.items()
    }
    monkeypatch.setattr(modules, "HUNYUAN_VIDEO_CONFIG", configs)
    monkeypatch.setattr(sys.modules["hyvideo.inference"], "TextEncoder", random_parts.RandomTextEncoder)
    folder = tmp_path / "ckpts"
    for name in ("text_encoder", "text_encoder_2"):
        (folder / name).mkdir(parents=True)
        save_file({}, folder / name / "model.safetensors")
        for file in ("config.json", "tokenizer_config.json"):
            (folder / name / file).write_text("{}")
    parts = folder / "hunyuan-video-t2v-720p"
    (parts / "transformers").mkdir(parents=True)
    state = hunyuan.sampler.pipeline.transformer.state_dict()
    torch.save({"module": state}, parts / "transformers" / "mp_rank_00_model_states.pt")
    torch.manual_seed(0)
    toy = vae.AutoencoderKLCausal3D(
        down_block_types=("DownEncoderBlockCausal3D",) * 4, up_block_types=("UpDecoderBlockCausal3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=16, norm_num_groups=4, sample_size=256,
    )  # fmt: skip
    toy.save_config(parts / "vae")
    torch.save({"state_dict": toy.state_dict()}, parts / "vae" / "pytorch_model.pt")
    return folder


def test_saved_weights_come_back_through_the_official_loader(hunyuan, hunyuan_plan_of, weights):
    plan = hunyuan_plan_of(weights=str(weights), steps="8", threshold="0.3")
    loaded = load_on_cpu(plan)
    ours, theirs = (pipe.sampler.pipeline.transformer.state_dict() for pipe in (loaded, hunyuan))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert type(loaded.sampler.pipeline.vae).__name__ == "AutoencoderKLCausal3D"
    assert loaded.identity.weights_digest.startswith("sha256-sampled:")
    done = run(loaded, plan)
    assert done.session.transformer_calls_saved > 0
    assert done.video.shape == (3, 5, 64, 96)
    assert torch.equal(
        run(loaded, replace(plan, method="off")).video, run(loaded, replace(plan, threshold=0.0)).video
    )


def test_fp8_takes_its_own_file_and_map(hunyuan, hunyuan_plan_of, weights):
    folder = weights / "hunyuan-video-t2v-720p" / "transformers"
    with pytest.raises(WeightsError, match=r"mp_rank_00_model_states_fp8\.pt is missing"):
        load_on_cpu(hunyuan_plan_of(weights=str(weights), fp8="yes"))
    model = hunyuan.sampler.pipeline.transformer
    linear = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    state = torch.load(folder / "mp_rank_00_model_states.pt", weights_only=True)["module"]
    inside = [name for name in linear if "double_blocks" in name or "single_blocks" in name]
    state.update({f"{name}.weight": state[f"{name}.weight"].to(torch.float8_e4m3fn) for name in inside})
    torch.save(state, folder / "mp_rank_00_model_states_fp8.pt")
    with pytest.raises(WeightsError, match=r"mp_rank_00_model_states_fp8_map\.pt is missing"):
        load_on_cpu(hunyuan_plan_of(weights=str(weights), fp8="yes"))
    torch.save(dict.fromkeys(linear, torch.tensor(0.25)), folder / "mp_rank_00_model_states_fp8_map.pt")
    # A CPU can hold such weights, but not compute with them.
    loaded = load_on_cpu(hunyuan_plan_of(weights=str(weights), fp8="yes"))
    block = loaded.sampler.pipeline.transformer.single_blocks[0]
    assert block.linear1.weight.dtype == torch.float8_e4m3fn
    assert block.linear1.fp8_scale == 0.25


def test_weights_of_another_architecture(weights, hunyuan_plan_of):
    path = weights / "hunyuan-video-t2v-720p" / "transformers" / "mp_rank_00_model_states.pt"
    state = torch.load(path, weights_only=True)
    state["module"]["img_in.proj.weight"] = torch.zeros(96, 33, 1, 2, 2)
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"16 latent channels, .*found .*33 latent channels"):
        load_on_cpu(hunyuan_plan_of(weights=str(weights)))
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="found another model"):
        load_on_cpu(hunyuan_plan_of(weights=str(weights)))


class Intruder:
    def __reduce__(self):
        return print, ("a file of weights ran code",)


@pytest.mark.parametrize("file", ["transformers/mp_rank_00_model_states.pt", "vae/pytorch_model.pt"])
def test_files_that_run_code_are_refused(weights, hunyuan_plan_of, capsys, file):
    path = weights / "hunyuan-video-t2v-720p" / file
    torch.save({**torch.load(path, weights_only=True), "more": Intruder()}, path)
    with pytest.raises(WeightsError, match="cannot be loaded: Weights only load failed"):
        load_on_cpu(hunyuan_plan_of(weights=str(weights)))
    assert "ran code" not in capsys.readouterr().out


def test_the_program_on_the_official_code(tmp_path, hunyuan_repository):
    """The real command line at an official size, and nothing on the screen that is not ours."""
    report = assert_official_program(tmp_path, "hunyuan", hunyuan_repository, "--size", "624x832")
    assert (report["output"]["width"], report["output"]["height"]) == (624, 832)
    assert report["model"]["repository"] == "https://github.com/Tencent-Hunyuan/HunyuanVideo"
