"""The Wan2.1 backend through the real program, on a small double of the official package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.media.video import read_video
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import load_presets
from tests.doubles.double import Double, assert_generated, assert_made_from_weights
from tests.program import assert_refused, report_of

DOUBLE = Double("wan")
MODEL = "wan/modules/model.py"
QUICK = ("--frames", "5", "--steps", "14", "--align-steps", "4", "--threshold", "0.15", "--size", "832x480")
SMALL = ("--weights", "random-small")


@pytest.fixture
def wan(tmp_path):
    """Run `navicache generate --model wan` in an empty folder; nothing but --repo finds the double."""
    return DOUBLE.program(tmp_path)


@pytest.mark.shows("modes", "wan t2v-1.3B")
def test_generate(wan, tmp_path):
    done = wan(*QUICK, *SMALL, "--json", "--baseline", "-o", "v.mp4")
    report = assert_generated(done, tmp_path / "work/v.mp4", (5, 480, 832, 3), fps=16, tested="9737cba")
    totals, times = report["totals"], report["timings_s"]
    assert 0 < totals["skipped_steps"] < 9
    assert totals["transformer_calls"] == 2 * totals["computed_steps"]
    assert sum(step["seconds"] for step in report["steps"]) <= times["denoise"]
    assert times["denoise"] > times["text"] + times["decode"], "the stages are where the work is"
    assert report["model"]["name"] == "Wan2.1 t2v-1.3B"
    assert report["baseline"]["psnr"] > 15


def test_quiet_is_quiet(wan):
    done = wan(*QUICK[:2], *QUICK[-2:], *SMALL, "--steps", "3", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.endswith(".mp4\n")


def test_off_equals_threshold_zero_and_solvers_differ(wan, tmp_path):
    def frames(*arguments):
        done = wan(*QUICK, "--steps", "7", *SMALL, "--overwrite", "-o", "v.mp4", *arguments)
        assert done.returncode == 0, done.stderr
        return read_video(tmp_path / "work/v.mp4")[0]

    off = frames("--mode", "off")
    assert (off == frames("--threshold", "0")).all()
    assert (off != frames("--mode", "off", "--solver", "dpm++")).any()


@pytest.mark.shows("modes", "wan t2v-14B", "wan t2i-14B")
@pytest.mark.parametrize(
    ("task", "extra", "shape"),
    [
        ("t2v-14B", (), (5, 480, 832)),
        ("t2i-14B", ("--frames", "1"), (1, 480, 832)),
        ("t2v-1.3B", ("--size", "480x832", "--guidance", "1", "--t5-cpu"), (5, 832, 480)),
        ("t2v-1.3B", ("--weights", "random"), (5, 480, 832)),
    ],
)
def test_tasks(wan, tmp_path, task, extra, shape):
    few = (*QUICK, *SMALL, "--steps", "6", "--json", "-o", "v.mp4")
    report = report_of(wan("--task", task, *few, *extra, on_cpu=True))
    assert read_video(tmp_path / "work/v.mp4")[0].shape[:3] == shape
    assert report["totals"]["transformer_calls"] == 2 * report["totals"]["computed_steps"]


def test_image_to_video_follows_the_picture(wan, picture, tmp_path):
    report = report_of(wan("--task", "i2v-14B", "--image", picture, *QUICK, *SMALL, "--json", "-o", "v.mp4"))
    frames, height, width, _ = read_video(tmp_path / "work/v.mp4")[0].shape
    assert frames == 5
    assert width / height == pytest.approx(1.5, rel=0.03)
    assert width * height == pytest.approx(832 * 480, rel=0.05)
    assert report["totals"]["skipped_steps"] > 0
    assert report["plan"]["shift"] == {"value": 3.0, "source": "preset wan i2v-14B 832x480"}


def test_a_picture_is_taken_as_it_is_shown(wan, picture, tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    Image.open(picture).convert("LA").save(tmp_path / "lying.png", exif=exif)
    with Image.open(tmp_path / "lying.png") as lying:
        lying.putalpha(0)
        lying.save(tmp_path / "lying.png", exif=exif)
    pictures = ("--image", str(tmp_path / "lying.png"))
    done = wan("--task", "i2v-14B", *pictures, *QUICK, *SMALL, "--steps", "2", "--json", "-o", "v.mp4")
    report = report_of(done)
    _, height, width, _ = read_video(tmp_path / "work/v.mp4")[0].shape
    assert height / width == pytest.approx(1.5, rel=0.03)
    note = f"transparent parts of {tmp_path}/lying.png are laid on white"
    assert note in report["notes"]
    assert note in " ".join(done.stderr.split())


def test_vace_gets_pictures_as_they_are_shown(picture, tmp_path):
    """Its official code opens reference pictures itself."""
    from types import SimpleNamespace

    import torch
    from PIL import Image

    from backends.wan.pipeline import WanPipeline
    from backends.wan.tasks import TASKS

    def prepare_source(videos, masks, references, frames, size, device):
        return [Image.open(one).convert("RGB").size for one in references[0]], videos, masks

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(picture).save(tmp_path / "lying.png", exif=exif)
    references = f"{picture}, {tmp_path / 'lying.png'}"
    flags = {"model": "wan", "task": "vace-1.3B", "reference_images": references}
    official = SimpleNamespace(prepare_source=prepare_source, device=torch.device("cpu"))
    pipeline = WanPipeline(official, TASKS["vace-1.3B"], None)
    (sizes, *_), _ = pipeline._inputs(build_plan(flags, [], None, {}))
    assert sizes == [(90, 60), (60, 90)]


def test_official_defaults(picture):
    def plan(task, **flags):
        pictures = dict.fromkeys(load_presets()["wan"].tasks[task].get("inputs", []), picture)
        made = build_plan({"model": "wan", "task": task, **pictures, **flags}, [], None, {})
        return made.steps, made.shift, made.frames, made.size, made.offload

    assert plan("t2v-1.3B") == (50, 5.0, 81, "832x480", True)
    assert plan("t2v-14B") == (50, 5.0, 81, "1280x720", True)
    assert plan("i2v-14B") == (40, 5.0, 81, "1280x720", True)
    assert plan("i2v-14B", size="480*832") == (40, 3.0, 81, "480x832", True)
    assert plan("i2v-14B", size="480x832", shift="4") == (40, 4.0, 81, "480x832", True)
    assert plan("flf2v-14B") == (50, 16.0, 81, "1280x720", True)
    assert plan("vace-1.3B") == (50, 16.0, 81, "832x480", True)
    assert plan("vace-14B") == (50, 16.0, 81, "1280x720", True)
    assert plan("t2i-14B", offload="no") == (50, 5.0, 1, "1024x1024", False)


def test_found_by_the_variable(wan):
    done = wan(*QUICK, *SMALL, "--steps", "2", repo=None, env={"NAVICACHE_WAN_REPO": str(DOUBLE.path)})
    assert done.returncode == 0, done.stderr
    assert "(environment NAVICACHE_WAN_REPO)" in " ".join(done.stderr.split())


def test_no_repository(wan, tmp_path):
    assert_refused(
        wan(*SMALL, repo=None), 3, "needs its official repository", "NAVICACHE_WAN_REPO", "git clone"
    )
    (tmp_path / "other" / "hyvideo").mkdir(parents=True)
    done = wan(*SMALL, repo=tmp_path / "other")
    assert_refused(done, 3, "wan/modules/model.py", "found a directory with hyvideo", "--repo")


def test_no_gpu(wan):
    assert_refused(wan(), 3, "expects an NVIDIA GPU, found none", "--weights random-small")


def test_a_checkout_without_the_class(wan, picture):
    pictures = ("--image", picture, "--last-image", picture)
    assert_refused(
        wan("--task", "flf2v-14B", *pictures, *SMALL, "--frames", "81"), 3, "expected wan.WanFLF2V", "9737cba"
    )


def test_out_of_gpu_memory(wan, tmp_path):
    fault = "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB.')"
    done = wan(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, MODEL, ("(u,) = x", fault)))
    assert_refused(done, 7, "Tried to allocate 9 GiB", "--offload", "--t5-cpu", "--size", "--frames")
    assert not list((tmp_path / "work").rglob("*.mp4"))


def test_a_changed_forward(wan, tmp_path):
    words = [("self, x, t,", "self, z, t,"), ("zip(x, y", "zip(z, y"), ("(u,) = x", "(u,) = z")]
    done = wan(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, MODEL, *words))
    assert_refused(done, 5, "expected a parameter 'x', found (z, t, context, seq_len")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--task", "i2v-14B"), "image expects a picture's path for wan i2v-14B, found ''"),
        (("--task", "flf2v-14B", "--image", "x.png"), "last-image expects a picture's path"),
        (("--image", "x.png"), "takes no image"),
        (("--task", "vace-1.3B"), "expects reference pictures or a video to change, found neither"),
        (
            ("--task", "vace-1.3B", "--source-video", "absent.mp4"),
            "cannot read the video absent.mp4: no such",
        ),
        (
            ("--task", "vace-1.3B", "--source-video", __file__),
            "py: it is not a video in a known format",
        ),
        (
            ("--task", "vace-1.3B", "--reference-images", "a.png", "--source-mask", "m.mp4"),
            "source-mask expects a source video",
        ),
        (
            ("--task", "vace-1.3B", "--source-video", "/dev/zero"),
            "cannot read the video /dev/zero: a regular file",
        ),
        (("--task", "i2v-14B", "--image", "/dev/zero"), "cannot read the image /dev/zero: a regular file"),
        (("--source-video", "x.mp4"), "takes no source-video"),
        (
            ("--task", "vace-1.3B", "--reference-images", "absent.png,b.png"),
            "cannot read the image absent.png",
        ),
        (("--task", "i2v-14B", "--image", "absent.png"), "cannot read the image absent.png: No such file"),
        (("--size", "1280x720"), "size expects one of 832x480, 480x832 for wan t2v-1.3B"),
        (("--task", "t2i-14B", "--frames", "5"), "frames expects 1 for wan t2i-14B, found 5"),
        (("--seed", "-1"), "seed expects 0 or more for wan, found -1"),
        (("--shift", "16", "--steps", "120"), "the timestep of the one before"),
        (("--solver", "euler"), "solver expects one of unipc, dpm++"),
    ],
)
def test_refused_before_anything_is_loaded(wan, arguments, told):
    assert_refused(wan(*SMALL, *arguments), 2, told)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"0" * 40, "cut"])
def test_unreadable_pictures(tmp_path, picture, data):
    from backends.wan.pictures import read_picture

    assert read_picture(picture).size == (90, 60)
    path = tmp_path / "bad.png"
    path.write_bytes(Path(picture).read_bytes()[:-60] if data == "cut" else data)
    with pytest.raises(UsageError, match=r"cannot read the image .*bad.png: it is not a whole picture"):
        read_picture(str(path))
    with pytest.raises(UsageError, match="it is a folder"):
        read_picture(str(tmp_path))


@pytest.fixture
def weights(tmp_path):
    """A folder as of Wan2.1-T2V-1.3B for the double, in two shards."""
    code = (
        "import sys, torch\n"
        "torch.cuda.current_device = lambda: 0\n"
        "import json, wan\n"
        "from safetensors.torch import save_file\n"
        "config = wan.configs.WAN_CONFIGS['t2v-1.3B']\n"
        "kept = {key: config[key] for key in ('dim', 'ffn_dim', 'num_heads', 'num_layers', 'freq_dim')}\n"
        "torch.manual_seed(0)\n"
        "model = wan.modules.WanModel(**kept)\n"
        "torch.nn.init.normal_(model.head.weight)\n"
        "save_file(model.state_dict(), 'diffusion_pytorch_model.safetensors')\n"
        "torch.save(torch.nn.Embedding(256, 4096).state_dict(), config.t5_checkpoint)\n"
        "torch.save(torch.nn.Linear(16, 3).state_dict(), config.vae_checkpoint)\n"
        "json.dump({'_class_name': 'WanModel', 'model_type': 't2v', **kept}, open('config.json', 'w'))\n"
    )
    folder = DOUBLE.write_weights(tmp_path, code)
    (folder / "google/umt5-xxl").mkdir(parents=True)
    (folder / "google/umt5-xxl/tokenizer.json").write_text("{}")
    return folder


def test_generate_from_weights(wan, weights, tmp_path):
    done = wan(*QUICK, "--weights", str(weights), "--json", "--no-offload", on_cpu=True)
    report = report_of(done)
    assert report["model"]["weights_digest"].startswith("sha256-sampled:")
    # Found by their official name too, and the digest follows the content.
    shutil.move(weights, tmp_path / "cache/navicache/weights/Wan2.1-T2V-1.3B")
    assert_made_from_weights(report, again=report_of(wan(*QUICK, "--json", on_cpu=True)))


def test_weights_missing(wan, tmp_path):
    done = wan(on_cpu=True)
    assert_refused(
        done, 4, "expected the weights Wan2.1-T2V-1.3B", "navicache setup wan --weights Wan2.1-T2V-1.3B"
    )
    assert_refused(wan("--weights", str(tmp_path / "absent"), on_cpu=True), 4, "absent", "found none")


def test_damaged_content_is_a_weights_error(wan, weights):
    import torch

    torch.save({"weight": torch.zeros(2, 2)}, weights / "Wan2.1_VAE.pth")
    done = wan(*QUICK, "--weights", str(weights), on_cpu=True)
    assert_refused(done, 4, "cannot be loaded", "--force-download")
