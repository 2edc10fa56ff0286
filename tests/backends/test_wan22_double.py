"""The Wan2.2 backend through the real program, on a small double of the official package."""

from __future__ import annotations

import json
import shutil

import pytest

from backends.official.installation import installations
from backends.wan.backend import check_plan
from backends.wan.tasks import TASKS, WAN22
from backends.wan.weights import digest_weights, known_config, locate_weights
from navicache_cli.errors import UsageError, WeightsError
from navicache_cli.media.video import read_video
from navicache_cli.plan.method import policy_for
from navicache_cli.plan.plan import build_plan
from tests.doubles.double import Double, assert_generated, assert_made_from_weights
from tests.machine import write_weights
from tests.program import assert_refused, report_of

DOUBLE = Double("wan2.2", "wan22", "backends.wan.backend")
SIZE = ("--frames", "1", "--size", "832x480")
QUICK = (*SIZE, "--steps", "12", "--align-steps", "4", "--threshold", "0.2")
SMALL = ("--weights", "random-small")
FIVE = ("--task", "ti2v-5B", "--size", "1280x704")


@pytest.fixture
def wan22(tmp_path):
    """Run `navicache generate --model wan2.2` in an empty folder; nothing but --repo finds the double."""
    return DOUBLE.program(tmp_path)


@pytest.mark.shows("modes", "wan2.2 t2v-A14B")
def test_generate(wan22, tmp_path):
    done = wan22(*QUICK, *SMALL, "--frames", "5", "--json", "--baseline", "-o", "v.mp4")
    report = assert_generated(done, tmp_path / "work/v.mp4", (5, 480, 832, 3), fps=16, tested="42bf4cf")
    totals, times = report["totals"], report["timings_s"]
    assert 0 < totals["skipped_steps"] < 8
    assert totals["transformer_calls"] == 2 * totals["computed_steps"]
    assert times["denoise"] > times["text"] + times["decode"], "the stages are where the work is"
    assert report["model"]["name"] == "Wan2.2 t2v-A14B"
    (of_experts,) = [note for note in report["notes"] if note.startswith("steps computed: ")]
    assert "high noise" in of_experts
    assert "low noise" in of_experts
    assert report["baseline"]["psnr"] > 15


def test_off_equals_threshold_zero_and_the_second_guidance_counts(wan22, tmp_path):
    def frames(*arguments):
        done = wan22(*QUICK, "--steps", "7", *SMALL, "--overwrite", "-o", "v.mp4", *arguments)
        assert done.returncode == 0, done.stderr
        return read_video(tmp_path / "work/v.mp4")[0]

    off = frames("--mode", "off")
    assert (off == frames("--threshold", "0")).all()
    assert (off != frames("--mode", "off", "--low-noise-guidance", "6")).any()


@pytest.mark.shows("budget", "wan2.2 t2v-A14B")
def test_a_budget_where_no_mode_is_asked_for(wan22):
    report = report_of(wan22(*SIZE, *SMALL, "--steps", "20", "--json"))
    assert report["totals"]["computed_steps"] == 10
    assert report["plan"]["predictor"] == {"value": "calibrated", "source": "preset wan2.2"}


@pytest.mark.parametrize(
    ("method", "loose"), [("teacache", ("--threshold", "3")), ("pab", ("--set", "window=0 1000"))]
)
def test_methods_that_look_inside_both_experts(wan22, method, loose):
    report = report_of(wan22(*SIZE, *SMALL, "--steps", "10", "--method", method, *loose, "--json"))
    totals = report["totals"]
    assert totals["attention_calls_saved" if method == "pab" else "transformer_calls_saved"] > 0


@pytest.mark.shows("modes", "wan2.2 i2v-A14B")
def test_image_to_video_follows_the_picture(wan22, picture, tmp_path):
    given = ("--task", "i2v-A14B", "--image", picture)
    report = report_of(wan22(*given, *QUICK, *SMALL, "--json", "-o", "v.mp4"))
    frames, height, width, _ = read_video(tmp_path / "work/v.mp4")[0].shape
    assert frames == 1
    assert width / height == pytest.approx(1.5, rel=0.05)
    assert report["totals"]["skipped_steps"] > 0


@pytest.mark.shows("modes", "wan2.2 ti2v-5B")
def test_the_5b_with_and_without_a_picture(wan22, picture, tmp_path):
    def made(*arguments):
        done = wan22(*QUICK, *FIVE, *SMALL, "--json", "--overwrite", "-o", "v.mp4", *arguments)
        report = report_of(done)
        assert report["totals"]["skipped_steps"] > 0
        assert report["output"]["fps"] == 24
        assert not any("steps computed" in note for note in report["notes"])
        return read_video(tmp_path / "work/v.mp4")[0].shape

    assert made("--frames", "5") == (5, 704, 1280, 3)
    _, height, width, _ = made("--image", picture, "--frames", "5")
    assert width / height == pytest.approx(1.5, rel=0.05)


def test_official_defaults(picture):
    def plan(task, **flags):
        made = build_plan({"model": "wan2.2", "task": task, **flags}, [], None, {})
        return (
            made.steps,
            made.shift,
            made.guidance,
            made.low_noise_guidance,
            made.frames,
            made.fps,
            made.size,
        )

    assert plan("t2v-A14B") == (40, 12.0, 4.0, 3.0, 81, 16, "1280x720")
    assert plan("i2v-A14B", image=picture) == (40, 5.0, 3.5, 3.5, 81, 16, "1280x720")
    assert plan("ti2v-5B") == (50, 5.0, 5.0, 0.0, 121, 24, "1280x704")


def test_found_by_the_variable(wan22):
    done = wan22(*QUICK, *SMALL, "--steps", "2", repo=None, env={"NAVICACHE_WAN22_REPO": str(DOUBLE.path)})
    assert done.returncode == 0, done.stderr
    assert "(environment NAVICACHE_WAN22_REPO)" in " ".join(done.stderr.split())


def test_each_version_says_so_where_the_other_is_given(wan22):
    other = Double("wan").path
    assert_refused(
        wan22(*SMALL, repo=other), 3, "expected Wan2.2's repository", "found that of wan", "--model wan"
    )
    done = wan22("--model", "wan", *SMALL, repo=DOUBLE.path)
    assert_refused(done, 3, "expected Wan2.1's repository", "found that of wan2.2", "--model wan2.2")


@pytest.mark.parametrize(("task", "told"), [("s2v-14B", "to a sound"), ("animate-14B", "as a video does")])
def test_speech_and_animation_are_refused(task, told):
    with pytest.raises(UsageError, match=f"ti2v-5B, found {task}, which .*{told}.* does not run it"):
        build_plan({"model": "wan2.2", "task": task}, [], None, {})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"task": "ti2v-5B", "low_noise_guidance": "3"},
            "a task with two experts, found ti2v-5B",
        ),
        ({"dtype": "float16"}, "dtype expects auto, bfloat16 or float32 for wan2.2"),
        ({"task": "i2v-A14B"}, "image expects a picture's path for wan2.2 i2v-A14B"),
        ({"image": "x.png"}, "takes no image"),
        ({"task": "ti2v-5B", "image": "absent.png"}, "cannot read the image absent.png"),
        ({"task": "ti2v-5B", "image": "cat.png", "frames": "1"}, "frames expects 5 or more"),
        (
            {"task": "ti2v-5B", "image": "a.png", "frames": "5", "method": "teacache", "ulysses": "2"},
            "ulysses expects less than 2 with teacache",
        ),
        ({"size": "1280x704"}, "size expects one of 1280x720"),
        ({"seed": "-1"}, "seed expects 0 or more for wan2.2, found -1"),
        ({"steps": "120"}, "make Wan2.2's unipc give"),
        ({"ring": "2"}, "wan2.2 takes no ring"),
        ({"method": "magcache"}, "wan2.2 t2v-A14B has none yet"),
    ],
)
def test_refused_before_anything_is_loaded(options, told):
    with pytest.raises(UsageError, match=told):
        check_plan(build_plan({"model": "wan2.2", **options}, [], None, {}), WAN22)


@pytest.mark.parametrize("task", ["i2v-A14B", "ti2v-5B"])
def test_published_ratios_of_magcache(picture, task):
    plan = build_plan({"model": "wan2.2", "task": task, "method": "magcache", "image": picture}, [], None, {})
    policy = policy_for(plan)
    policy.begin(plan.steps)
    computed = [policy.decide(index, None).compute for index in range(plan.steps)]
    first = {"i2v-A14B": 18, "ti2v-5B": 10}[task]
    assert len(policy.ratios) == plan.steps, "none is interpolated"
    assert all(computed[:first])
    assert not computed[first]


def test_out_of_gpu_memory(wan22, tmp_path):
    fault = "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB.')"
    changed = DOUBLE.changed(tmp_path, "wan/modules/model.py", ("(u,) = x", fault))
    assert_refused(wan22(*QUICK, *SMALL, repo=changed), 7, "Tried to allocate 9 GiB", "--task ti2v-5B")


@pytest.fixture
def weights(tmp_path):
    """A folder as of Wan2.2-T2V-A14B for the double."""
    code = f"""
import json
from pathlib import Path
import torch
from safetensors.torch import save_file
from backends.official.repositories import Checkout
from backends.wan.loading import import_official
from backends.wan.tasks import WAN22
import_official(WAN22, Checkout(Path({str(DOUBLE.path)!r}), "", ""))
from wan22 import configs, modules
config = configs.WAN_CONFIGS["t2v-A14B"]
kept = {{key: config[key] for key in ("dim", "ffn_dim", "num_heads", "num_layers", "freq_dim")}}
for seed, key in enumerate(("high_noise_checkpoint", "low_noise_checkpoint")):
    torch.manual_seed(seed)
    model = modules.WanModel(**kept)
    torch.nn.init.normal_(model.head.weight)
    place = Path(config[key])
    place.mkdir()
    save_file(model.state_dict(), place / "diffusion_pytorch_model.safetensors")
    (place / "config.json").write_text(json.dumps({{"model_type": "t2v", **kept}}))
torch.save(torch.nn.Embedding(256, 4096).state_dict(), config.t5_checkpoint)
torch.save(torch.nn.Linear(16, 3).state_dict(), config.vae_checkpoint)
"""
    folder = DOUBLE.write_weights(tmp_path, code)
    (folder / "google/umt5-xxl").mkdir(parents=True)
    (folder / "google/umt5-xxl/tokenizer.json").write_text("{}")
    return folder


def test_generate_from_weights(wan22, weights, tmp_path):
    given = (*QUICK, "--json", "--no-offload")
    report = report_of(wan22(*given, "--weights", str(weights), on_cpu=True))
    assert report["model"]["weights_digest"].startswith("sha256-sampled:")
    # Found by their official name too, and the digest follows the content of both experts.
    shutil.move(weights, tmp_path / "cache/navicache/weights/Wan2.2-T2V-A14B")
    assert_made_from_weights(report, again=report_of(wan22(*given, on_cpu=True)))


def located(folder):
    name = "Wan2.2-T2V-A14B"
    return locate_weights(str(folder), name, TASKS["t2v-A14B"], known_config("t2v-A14B"), None)


@pytest.fixture
def folder(tmp_path):
    """Whole files, small ones, where `setup` puts those of both experts."""
    write_weights(tmp_path, installations()["wan2.2"].weights_called("Wan2.2-T2V-A14B"))
    return tmp_path


@pytest.mark.parametrize("expert", ["high", "low"])
@pytest.mark.parametrize("file", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_weights_of_one_expert_are_missing(folder, expert, file):
    config = known_config("t2v-A14B")
    before = digest_weights(located(folder), "Wan2.2-T2V-A14B", config)
    place = folder / f"{expert}_noise_model" / file
    whole = place.read_bytes()
    place.unlink()
    with pytest.raises(WeightsError, match=f"incomplete: .*{expert}_noise_model/{file}") as caught:
        located(folder)
    assert "Wan-AI/Wan2.2-T2V-A14B" in caught.value.hint
    place.write_bytes(whole.replace(b"}", b" }").replace(b"\x02", b"\x03"))
    assert digest_weights(located(folder), "Wan2.2-T2V-A14B", config) != before


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="expected the weights Wan2") as caught:
        located("")
    assert caught.value.hint == "navicache setup wan2.2 --weights Wan2.2-T2V-A14B"


@pytest.mark.parametrize("kind", ["s2v", "ti2v"])
def test_weights_of_another_model_say_what_they_are(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "dim": 3072}))
    with pytest.raises(WeightsError, match=f"expected weights of Wan2.2-T2V-A14B .*found model_type {kind}"):
        located(tmp_path)
