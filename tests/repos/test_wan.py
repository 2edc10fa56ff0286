"""The official Wan2.1 classes at toy size on a CPU, through their own sampler loop.

Enabled by NAVICACHE_WAN_REPO=<a checkout of https://github.com/Wan-Video/Wan2.1>; needs easydict and ftfy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backends.repositories import read_commit
from backends.wan import WanBackend
from backends.wan.tasks import TASKS, repeated_timesteps
from navicache_cli.cache import ForwardSite, Session, attach, make_policy
from navicache_cli.commands.generate import build_plan
from navicache_cli.errors import SiteError
from navicache_cli.runner import run
from tests.cache import oracle
from tests.conftest import clean_environment

REPOSITORY = os.environ.get("NAVICACHE_WAN_REPO", "")
pytestmark = [
    pytest.mark.skipif(
        not REPOSITORY,
        reason="set NAVICACHE_WAN_REPO to a checkout of Wan-Video/Wan2.1 to run the official code",
    ),
    # The bare pipeline and the checkout's other classes run outside our filter.
    pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning"),
]
STEPS, LAYERS = 18, 3
MODES = ("fast", "mid", "slow")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / "first.png"), str(folder / "last.png")]
    slope = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    for path, colour in zip(paths, ("navy", "orange"), strict=True):
        Image.blend(slope, Image.new("RGB", slope.size, colour), 0.5).save(path)
    return {"image": paths[0], "last_image": paths[1], "reference_images": ", ".join(paths)}


@pytest.fixture(scope="module")
def plan_of(pictures):
    """A plan of a task at 96×64 pixels, which the presets do not offer, with few steps aligned."""

    def make(task="t2v-1.3B", **options):
        needed = {option: pictures[option] for option in TASKS[task].pictures}
        flags = {
            "model": "wan",
            "task": task,
            "weights": "random-small",
            "repo": REPOSITORY,
            "align_steps": "4",
        }
        frames = {} if TASKS[task].frames else {"frames": "5"}
        plan = build_plan({**flags, "steps": str(STEPS), **frames, **needed, **options}, [], None, {})
        # The official VACE code refuses sizes of its own accord.
        return plan if task == "vace-1.3B" else replace(plan, size="96x64")

    return make


@pytest.fixture(scope="module")
def load(plan_of):
    from tests.doubles.standins import put_torchvision_in_place

    put_torchvision_in_place()
    loaded = {}

    def get(task="t2v-1.3B"):
        if task not in loaded:
            loaded[task] = WanBackend().load(plan_of(task))
        return loaded[task]

    return get


def bare(pipeline, plan):
    """The official call, written out once more, with nothing of ours around it."""
    from PIL import Image

    where = {"size": (plan.width, plan.height)}
    if plan.task == "vace-1.3B":
        references = [plan.reference_images.split(", ")]
        images = pipeline.official.prepare_source([None], [None], references, plan.frames, (832, 480), "cpu")
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
@pytest.mark.parametrize(("task", "options"), [*CASES[:3], CASES[6]])
def test_decisions_equal_the_oracle(load, plan_of, task, options, mode, estimator):
    pipeline, plan = load(task), plan_of(task, mode=mode, estimator=estimator, **options)
    with Observer(pipeline.official.model) as seen:
        done = run(pipeline, plan)
    gate = oracle.Gate(plan.threshold, plan.align_steps, plan.steps, estimator)
    previous, kept, decisions = None, None, []
    for index, ((x, y), record) in enumerate(zip(seen.branch(0), done.session.records, strict=True)):
        row = gate.decide(index, distance(x, previous) if index else None)
        previous = x
        assert row.forced or abs(row.error / plan.threshold - 1) > 1e-4, "float32 must not be the judge"
        decisions.append(row.compute)
        assert record.accumulated_error == pytest.approx(row.error, rel=1e-3)
        if row.compute:
            spans = (distance(x, kept[0]), distance(y, kept[1])) if kept else (None, None)
            gate.measure(index, *spans, y.double().abs().mean().item())
            kept = x, y
    assert [record.computed for record in done.session.records] == decisions
    assert done.session.transformer_calls == 2 * sum(decisions)


def distance(a, b):
    return (a.double() - b.double()).abs().mean().item()


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


def test_attention_is_bound_at_every_call_site(load):
    from backends.attention import flash_attention

    load()
    modules = [name for name in sys.modules if name.split(".")[0] == "wan"]
    holders = [name for name in modules if hasattr(sys.modules[name], "flash_attention")]
    assert {"wan.modules.model", "wan.modules.clip", "wan.modules.attention"} <= set(holders)
    assert all(sys.modules[name].flash_attention is flash_attention for name in holders)


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
    import wan

    from backends.wan import loading, random_parts

    pipeline = load()
    expected = run(pipeline, plan_of(steps="4")).video
    pipeline.official.model.save_pretrained(tmp_path)
    config = wan.configs.WAN_CONFIGS["t2v-1.3B"]
    for key, value in random_parts.SMALL_CONFIG.items():
        monkeypatch.setitem(config, key, value)
    for name in (config.t5_checkpoint, config.vae_checkpoint):
        torch.save({}, tmp_path / name)
    (tmp_path / config.t5_tokenizer).mkdir(parents=True)
    (tmp_path / config.t5_tokenizer / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(sys.modules["wan.text2video"], "T5EncoderModel", random_parts.RandomTextEncoder)
    monkeypatch.setattr(sys.modules["wan.text2video"], "WanVAE", random_parts.RandomVAE)
    plan = plan_of(steps="4", weights=str(tmp_path))
    loaded = loading.load_pipeline(plan, torch.device("cpu"))
    assert torch.equal(run(loaded, plan).video, expected)
    assert loaded.identity.weights_digest.startswith("sha256-sampled:")


def test_the_program_on_the_official_code(tmp_path):
    """The real command line at an official size, and nothing on the screen that is not ours."""
    program = (
        "import backends.registry as r, navicache_cli.app as a\n"
        "from backends.wan import WanBackend\n"
        "from tests.doubles.standins import put_torchvision_in_place\n"
        "put_torchvision_in_place()\n"
        "r.get_backend = lambda name: WanBackend()\n"
        "a.main()"
    )
    options = ["--model", "wan", "--weights", "random-small", "--frames", "1", "--steps", "12", "--json"]
    options += ["--align-steps", "3", "--threshold", "0.2", "--repo", REPOSITORY]
    root = Path(__file__).parents[2]
    environment = clean_environment(CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(root))
    done = subprocess.run(
        [sys.executable, "-c", program, "generate", *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["output"]["width"], report["output"]["height"]) == (832, 480)
    assert report["totals"]["skipped_steps"] > 0
    assert report["model"]["repository"] == "https://github.com/Wan-Video/Wan2.1"
    assert report["model"]["commit"] == read_commit(Path(REPOSITORY).resolve())
    for word in ("Warning", "it/s", "%|"):
        assert word not in done.stderr


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
    config = {"dim": 48, "ffn_dim": 96, "num_heads": 2, "num_layers": 2, "patch_size": [1, 2, 2]}
    model = TinyWan(**{**config, "patch_size": (1, 2, 2)})
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
    from navicache_cli.video import to_uint8

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
