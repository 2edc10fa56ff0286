"""What the backend relies on in the official Wan2.1 code; see conftest.py."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from backends.wan.tasks import TASKS, repeated_timesteps
from backends.wan.weights import known_config
from navicache_cli.cache import ForwardSite, Session, attach, make_policy
from navicache_cli.errors import SiteError
from navicache_cli.plan.plan import build_plan
from navicache_cli.run.runner import run
from tests.repos.following import OUTSIDE_OUR_FILTER, assert_official_program, small_weights_beside

pytestmark = OUTSIDE_OUR_FILTER


def test_attention_is_bound_at_every_call_site(load):
    from backends.official.attention import flash_attention

    load()
    modules = [name for name in sys.modules if name.split(".")[0] == "wan"]
    holders = [name for name in modules if hasattr(sys.modules[name], "flash_attention")]
    assert {"wan.modules.model", "wan.modules.clip", "wan.modules.attention"} <= set(holders)
    assert all(sys.modules[name].flash_attention is flash_attention for name in holders)


@pytest.mark.parametrize("task", TASKS)
def test_what_doctor_knows_of_the_weights_is_official(load, task):
    load(task)
    configs = sys.modules[f"{TASKS[task].official.module}.configs"]
    config, known = configs.WAN_CONFIGS[task], known_config(task)
    assert known.items() <= config.items()
    parts = ("t5_", "vae_", "clip_", "high_noise", "low_noise")
    files = {key for key in config if key.startswith(parts) and key.endswith(("_checkpoint", "_tokenizer"))}
    assert files <= known.keys(), "no file of the task's is left out"


def test_official_clip_runs_on_the_bound_attention(load):
    load("i2v-14B")
    clip = sys.modules["wan.modules.clip"]
    torch.manual_seed(0)
    tower = clip.VisionTransformer(
        image_size=28, patch_size=14, dim=32, mlp_ratio=2, out_dim=16, num_heads=2, num_layers=2
    ).eval()
    with torch.no_grad():
        a, b = tower(torch.randn(2, 3, 28, 28)), tower(torch.randn(2, 3, 28, 28))
    assert torch.isfinite(a).all()
    assert not torch.equal(a, b)


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
@pytest.mark.parametrize(
    ("steps", "shift"), [(50, 5.0), (50, 16.0), (40, 3.0), (100, 16.0), (250, 5.0), (1, 5.0)]
)
def test_repeated_timesteps_are_the_official_ones(load, solver, steps, shift):
    load()
    if solver == "unipc":
        from wan.utils.fm_solvers_unipc import FlowUniPCMultistepScheduler

        scheduler = FlowUniPCMultistepScheduler(shift=1, use_dynamic_shifting=False)
        scheduler.set_timesteps(steps, device="cpu", shift=shift)
        timesteps = scheduler.timesteps
    else:
        from wan.utils.fm_solvers import (
            FlowDPMSolverMultistepScheduler,
            get_sampling_sigmas,
            retrieve_timesteps,
        )

        scheduler = FlowDPMSolverMultistepScheduler(shift=1, use_dynamic_shifting=False)
        timesteps, _ = retrieve_timesteps(scheduler, device="cpu", sigmas=get_sampling_sigmas(steps, shift))
    repeated = steps - len(set(timesteps.tolist()))
    assert repeated_timesteps(steps, shift, solver) == repeated
    assert (repeated > 0) == (steps >= 100), "the cases cover both"


def test_a_renamed_parameter_is_found_when_attaching(load):
    model = load().official.model
    official = model.forward
    model.forward = lambda latents, t, context, seq_len: official(latents, t, context, seq_len)
    try:
        session = Session(make_policy("navicache", threshold=0.1, align_steps=1, estimator="scalar"), 4)
        with pytest.raises(SiteError, match=r"expected a parameter 'x', found .*latents"):
            attach(ForwardSite(model, timestep="t", inputs="x"), session).__enter__()
    finally:
        del model.forward


def test_saved_weights_come_back_through_the_official_loader(load, plan_of, tmp_path, monkeypatch):
    """`from_pretrained`, the folder checks and the official constructor, on what `save_pretrained` wrote."""
    from backends.wan import loading, random_parts

    pipeline = load()
    import wan

    expected = run(pipeline, plan_of(steps="4")).video
    pipeline.official.model.save_pretrained(tmp_path)
    config = wan.configs.WAN_CONFIGS["t2v-1.3B"]
    small_weights_beside(tmp_path, config, monkeypatch)
    monkeypatch.setattr(sys.modules["wan.text2video"], "T5EncoderModel", random_parts.RandomTextEncoder)
    monkeypatch.setattr(sys.modules["wan.text2video"], "WanVAE", random_parts.RandomVAE)
    plan = plan_of(steps="4", weights=str(tmp_path))
    loaded = loading.load_pipeline(plan, torch.device("cpu"))
    assert torch.equal(run(loaded, plan).video, expected)
    assert loaded.identity.weights_digest.startswith("sha256-sampled:")


def test_the_program_on_the_official_code(tmp_path, repository):
    """The real command line at an official size, and nothing on the screen that is not ours."""
    stand_in = "from tests.doubles import standins; standins.put_torchvision_in_place()"
    report = assert_official_program(tmp_path, "wan", repository, before=stand_in)
    assert (report["output"]["width"], report["output"]["height"]) == (832, 480)
    assert report["model"]["repository"] == "https://github.com/Wan-Video/Wan2.1"


def tiny_folder(kind, tmp_path):
    """Weights of `tiny`: those that ship, or random ones."""
    from backends.tiny.backend import shipped_weights

    if kind == "shipped":
        if not (shipped_weights() / "transformer.safetensors").is_file():
            pytest.skip("backends/tiny/weights is not there: train it with python -m backends.tiny.train")
        return shipped_weights()

    from safetensors.torch import save_file

    from backends.tiny.codec import Codec
    from backends.tiny.model import TinyWan
    from backends.tiny.text import TextEncoder

    torch.manual_seed(0)
    shipped = json.loads((shipped_weights() / "config.json").read_text())
    config = {**shipped, "dim": 48, "ffn_dim": 96, "num_heads": 2, "num_layers": 2}
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    model = TinyWan(**{**sizes, "patch_size": (1, 2, 2)})
    torch.nn.init.xavier_uniform_(model.head.head.weight)
    for name, part in (("transformer", model), ("text_encoder", TextEncoder()), ("codec", Codec())):
        state = {key: value for key, value in part.state_dict().items() if value.is_floating_point()}
        save_file(state, tmp_path / f"{name}.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"solver": "dpm++", "guidance": "1"}, {"mode": "off"}])
@pytest.mark.parametrize("weights", ["shipped", "random"])
def test_tiny_weights_in_the_official_model_give_tinys_video(load, tmp_path, weights, options):
    from backends.tiny import TinyBackend
    from navicache_cli.media.video import to_uint8

    load()
    flags = {"weights": str(tiny_folder(weights, tmp_path)), "steps": "12", "align_steps": "4", **options}
    plan = build_plan(flags, [], None, {})
    pipeline = TinyBackend().load(plan)
    ours = run(pipeline, plan)

    config = {**pipeline.transformer.config, "patch_size": tuple(pipeline.transformer.config["patch_size"])}
    official = sys.modules["wan.modules.model"].WanModel(**config).eval().requires_grad_(False)
    official.load_state_dict(pipeline.transformer.state_dict(), strict=True)
    pipeline.transformer = official
    theirs = run(pipeline, plan)
    assert ours.video.std() > 0.01
    assert (ours.video - theirs.video).abs().max() < 2e-3
    assert abs(to_uint8(ours.video).astype(int) - to_uint8(theirs.video)).max() <= 1
    computed = [record.computed for record in ours.session.records]
    assert computed == [record.computed for record in theirs.session.records]
