"""The official Wan2.2 pipelines through their own sampler loops, two experts or one; see conftest.py."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from backends.wan import loading, random_parts
from backends.wan.tasks import EXPERTS
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.run.runner import run
from tests.repos.following import (
    OUTSIDE_OUR_FILTER,
    Observer,
    assert_every_step_ran,
    assert_like_off_but_for_its_skips,
    assert_official_program,
    assert_residual_reused,
    decisions_of_the_oracle,
    small_weights_beside,
)

pytestmark = OUTSIDE_OUR_FILTER
LAYERS = 3  # of the small random transformer
HIGH, LOW = (name for name, *_ in EXPERTS)


def bare(pipeline, plan):
    """The official call, written out once more, with nothing of ours around it."""
    from PIL import Image

    images = [Image.open(plan.image).convert("RGB")] if plan.image else []
    where = {"max_area": 96 * 64} if images else {"size": (plan.width, plan.height)}
    pair = (plan.low_noise_guidance, plan.guidance)
    return pipeline.official.generate(
        plan.prompt, *images, **where, frame_num=plan.frames, shift=plan.shift, sample_solver=plan.solver,
        sampling_steps=plan.steps, guide_scale=plan.guidance if plan.task == "ti2v-5B" else pair,
        seed=plan.seed, offload_model=False,
    )  # fmt: skip


@pytest.fixture
def given(pictures):
    """Options of a case, with a picture in the place of its name."""

    def with_pictures(options):
        return {**options, "image": pictures["image"]} if "image" in options else options

    return with_pictures


PICTURE = {"image": "picture"}
CASES = [
    ("t2v-A14B", {}),
    ("t2v-A14B", {"solver": "dpm++"}),
    ("t2v-A14B", {"guidance": "1", "low_noise_guidance": "6"}),
    ("i2v-A14B", {}),
    ("ti2v-5B", {}),
    ("ti2v-5B", PICTURE),
]


@pytest.mark.parametrize(
    ("task", "options"), [*CASES, ("i2v-A14B", {"steps": "6", "shift": "1", "seed": "7"})]
)
def test_off_equals_the_bare_pipeline(load, plan_of, given, task, options):
    pipeline, plan = load(task), plan_of(task, mode="off", **given(options))
    ours = run(pipeline, plan)
    assert torch.equal(ours.video, bare(pipeline, plan))
    assert_every_step_ran(ours, (3, plan.frames, *ours.video.shape[2:]), calls=2 * plan.steps)


def only(tensors):
    """The tensor in a list of one, as the official forward takes and returns it."""
    (tensor,) = tensors
    return tensor


def observed(pipeline, plan):
    """Run a plan, watching each of the models; returns the run and the observers by name."""
    with ExitStack() as stack:
        seen = {
            name: stack.enter_context(Observer(model, model, model.blocks, only, only))
            for name, model in pipeline.models.items()
        }
        return run(pipeline, plan), seen


@pytest.mark.shows("modes", "wan2.2 t2v-A14B", "wan2.2 i2v-A14B", "wan2.2 ti2v-5B")
@pytest.mark.parametrize(("mode", "estimator"), [("fast", "scalar"), ("fast", "dual"), ("slow", "scalar")])
@pytest.mark.parametrize(("task", "options"), CASES)
def test_decisions_equal_the_oracle(load, plan_of, given, task, options, mode, estimator):
    pipeline = load(task)
    plan = plan_of(task, mode=mode, estimator=estimator, **given(options))
    done, seen = observed(pipeline, plan)
    records = done.session.records
    assert [record.index for record in records] == list(range(plan.steps))
    calls = [call for observer in seen.values() for call in observer.calls[::2]]
    decisions = decisions_of_the_oracle(plan, calls, records)
    assert [record.computed for record in records] == decisions
    assert done.session.transformer_calls == 2 * sum(decisions)


@pytest.mark.parametrize(("task", "options"), CASES)
def test_skipped_steps_run_no_block_and_reuse_the_residual_of_their_expert(
    load, plan_of, given, task, options
):
    pipeline, plan = load(task), plan_of(task, threshold="0.3", **given(options))
    done, seen = observed(pipeline, plan)
    assert torch.isfinite(done.video).all()
    for name, observer in seen.items():
        computed = [record.computed for record in done.session.records if record.model == name]
        assert computed[0], "the first step of each is computed"
        assert computed.count(False) >= 1
        calls = [call for call, fine in enumerate(fine for step in computed for fine in (step, step)) if fine]
        assert observer.ran == [call for call in calls for _ in range(LAYERS)]
        for branch in (0, 1):
            assert_residual_reused(observer.calls[branch::2], computed)


@pytest.mark.shows("budget", "wan2.2 t2v-A14B", "wan2.2 i2v-A14B")
@pytest.mark.parametrize("task", ["t2v-A14B", "i2v-A14B"])
def test_nothing_that_is_kept_crosses_the_boundary(load, plan_of, task):
    pipeline, plan = load(task), plan_of(task, speedup="2", predictor="calibrated")
    low, held = pipeline.models[LOW], []

    def note(module, args, output):
        held.append(bound_to(low).cache_bytes)

    hook = low.register_forward_hook(note)
    records = run(pipeline, plan).session.records
    hook.remove()
    latents = 16 * 2 * (plan.height // 8) * (plan.width // 8) * 4
    assert held[0] == latents, "a copy of the x of this call"
    assert [record.model for record in records] == sorted(record.model for record in records)
    first = next(record for record in records if record.model == LOW)
    assert first.computed
    assert 0 < first.index < plan.steps - 1
    assert sum(record.computed for record in records) == plan.steps // 2, "of both together"


def test_the_boundary_is_the_official_one(load, plan_of):
    """Tasks have their own: wan/configs."""
    for task, boundary in (("t2v-A14B", 875), ("i2v-A14B", 900)):
        for record in run(load(task), plan_of(task)).session.records:
            assert record.model == (HIGH if record.timestep >= boundary else LOW)


def test_experts_have_weights_of_their_own(load):
    high, low = (model.state_dict() for model in load("t2v-A14B").models.values())
    assert not any(torch.equal(high[name], low[name]) for name in high if name.endswith(".q.weight"))


def test_a_given_frame_does_not_hide_the_step(load, plan_of, pictures):
    """Its tokens have the timestep 0 at every step."""
    pipeline, plan = load("ti2v-5B"), plan_of("ti2v-5B", image=pictures["image"], method="teacache")
    taken = []
    hook = pipeline.official.model.register_forward_pre_hook(
        lambda _, args, kwargs: taken.append(kwargs["t"]), with_kwargs=True
    )
    records = run(pipeline, plan).session.records
    hook.remove()
    assert all(len(t[0]) > 1 and t[0, 0] == 0 for t in taken)
    assert [record.timestep for record in records] == [float(t[0, -1]) for t in taken[::2]]
    assert all(record.measured.signal > 0 for record in records[1:])


# Wide enough to skip with random weights, whatever these are.
LOOSE = {
    "teacache": {"threshold": "3.0"},
    "magcache": {"threshold": "5.0"},
    "fbcache": {"threshold": "0.9"},
    "taylorseer": {},
    "pab": {"window": "0 1000"},
}


@pytest.mark.parametrize("method", LOOSE)
def test_methods_that_look_inside_the_experts(load, plan_of, method):
    pipeline = load("i2v-A14B")
    done = run(pipeline, plan_of("i2v-A14B", method=method, **LOOSE[method]))
    session = done.session
    first = next(record for record in session.records if record.model == LOW)
    assert first.computed
    assert first.decision.reuse == ()
    assert session.cache_bytes == 0
    assert torch.isfinite(done.video).all()
    if method == "pab":
        assert session.parts.calls_saved > 0
    else:
        assert 0 < session.transformer_calls_saved == 2 * sum(not r.computed for r in session.records)


def test_teacache_keeps_one_token_of_the_projected_time_embedding(load, plan_of):
    """e0 of Wan2.2 has a row for each token, all alike in text to video: recomputed here."""
    pipeline = load("t2v-A14B")
    held = []
    hook = pipeline.models[HIGH].register_forward_hook(
        lambda module, args, output: held.append(bound_to(module).cache_bytes)
    )
    plan = plan_of("t2v-A14B", method="teacache", threshold="0")
    records = run(pipeline, plan).session.records
    hook.remove()
    small = random_parts.SMALL_CONFIG["dim"]
    hidden = 2 * (plan.height // 16) * (plan.width // 16) * small * 4
    assert held[0] == 6 * small * 4 + hidden, "one row of float32, and a copy of the first branch's tokens"
    sinusoidal = sys.modules["wan22.modules.model"].sinusoidal_embedding_1d
    for one, two in pairwise(records):
        if one.model != two.model:
            continue
        model = pipeline.models[two.model]
        with torch.no_grad():
            times = torch.tensor([one.timestep, two.timestep])
            e = model.time_embedding(sinusoidal(model.freq_dim, times).float())
            a, b = model.time_projection(e).float()
        change = float((b - a).abs().mean() / a.abs().mean())
        assert two.measured.signal == pytest.approx(change, rel=1e-3)


def test_a_mode_differs_from_off_but_not_by_much(load, plan_of):
    assert_like_off_but_for_its_skips(load("t2v-A14B"), lambda **o: plan_of("t2v-A14B", **o), "fast")


def test_nothing_of_speech_and_animation_is_imported(load):
    load("t2v-A14B")
    loaded = {name for name in sys.modules if name.startswith("wan22.")}
    assert {"wan22.text2video", "wan22.image2video", "wan22.textimage2video"} <= loaded
    others = ("wan22.speech2video", "wan22.animate", "wan22.modules.s2v", "wan22.modules.animate")
    assert not any(name.startswith(others) for name in loaded)


def test_both_versions_run_in_one_process(load, plan_of):
    short = {"mode": "off", "steps": "2"}
    before = run(load("t2v-A14B"), plan_of("t2v-A14B", **short)).video
    run(load("t2v-1.3B"), plan_of("t2v-1.3B", **short))
    assert torch.equal(run(load("t2v-A14B"), plan_of("t2v-A14B", **short)).video, before)


def test_everything_is_as_it_was_afterwards(load, plan_of):
    pipeline = load("t2v-A14B")
    module, before = sys.modules["wan22.text2video"], dict(vars(pipeline.official.vae))
    tqdm = module.tqdm
    run(pipeline, plan_of("t2v-A14B", steps="3"))
    assert module.tqdm is tqdm
    assert vars(pipeline.official.vae) == before
    for model in pipeline.models.values():
        assert bound_to(model) is None
        assert not model._forward_pre_hooks


def test_prompt_seed_and_picture_matter(load, plan_of, pictures):
    pipeline = load("ti2v-5B")
    plan = plan_of("ti2v-5B", steps="4", mode="off", image=pictures["image"])
    video = run(pipeline, plan).video
    for other in (
        replace(plan, prompt="another"),
        replace(plan, seed=1),
        replace(plan, image=pictures["last_image"]),
        replace(plan, image=""),
    ):
        assert not torch.equal(video, run(pipeline, other).video)


@pytest.mark.parametrize("task", ["t2v-A14B", "ti2v-5B"])
def test_saved_weights_come_back_through_the_official_loader(load, plan_of, tmp_path, monkeypatch, task):
    """`from_pretrained`, the folder checks and the official constructor, on what `save_pretrained` wrote."""
    pipeline = load(task)
    module = sys.modules[type(pipeline.official).__module__]
    config = sys.modules["wan22.configs"].WAN_CONFIGS[task]
    expected = run(pipeline, plan_of(task, steps="4")).video
    folders = {name: config[key] for name, _, key in EXPERTS if key in config}
    for name, model in pipeline.models.items():
        model.save_pretrained(tmp_path / folders.get(name, ""))
    small_weights_beside(tmp_path, config, monkeypatch)
    vae = "Wan2_1_VAE" if task == "t2v-A14B" else "Wan2_2_VAE"
    monkeypatch.setattr(module, "T5EncoderModel", random_parts.RandomTextEncoder)
    monkeypatch.setattr(module, vae, lambda **_: pipeline.official.vae)
    plan = plan_of(task, steps="4", weights=str(tmp_path))
    loaded = loading.load_pipeline(plan, torch.device("cpu"))
    assert torch.equal(run(loaded, plan).video, expected)
    assert loaded.identity.weights_digest.startswith("sha256-sampled:")


def test_the_program_on_the_official_code(tmp_path, wan22_repository):
    """The real command line at an official size, and nothing on the screen that is not ours."""
    stand_in = "from tests.doubles import standins; standins.put_torchvision_in_place()"
    report = assert_official_program(
        tmp_path, "wan2.2", wan22_repository, "--size", "832x480", before=stand_in
    )
    assert (report["output"]["width"], report["output"]["height"]) == (832, 480)
    assert report["model"]["repository"] == "https://github.com/Wan-Video/Wan2.2"
    assert any(note.startswith("steps computed: high noise") for note in report["notes"])
