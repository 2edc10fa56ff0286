"""The HunyuanVideo backend through the real program, on a small double of the official package."""

from __future__ import annotations

import json
import shutil

import pytest

from navicache_cli.errors import BackendError, UsageError, WeightsError
from navicache_cli.media.video import read_video
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import load_presets
from tests.doubles.double import Double, assert_generated, assert_made_from_weights
from tests.program import assert_refused, report_of

DOUBLE = Double("hunyuan")
MODELS = "hyvideo/modules/models.py"
QUICK = ("--frames", "5", "--steps", "12", "--align-steps", "4", "--threshold", "0.2", "--size", "544x960")
SMALL = ("--weights", "random-small")


@pytest.fixture
def hunyuan(tmp_path):
    """Run `navicache generate --model hunyuan` in an empty folder; nothing but --repo finds the double."""
    return DOUBLE.program(tmp_path)


@pytest.mark.shows("modes", "hunyuan t2v-544p")
def test_generate(hunyuan, tmp_path):
    done = hunyuan(*QUICK, *SMALL, "--json", "--baseline", "-o", "v.mp4", "--negative-prompt", "ugly")
    report = assert_generated(done, tmp_path / "work/v.mp4", (5, 960, 544, 3), fps=24, tested="fa14b00")
    totals = report["totals"]
    assert 0 < totals["skipped_steps"] < 9
    assert totals["transformer_calls"] == totals["computed_steps"]
    assert report["model"]["name"] == "HunyuanVideo t2v-544p"
    assert report["baseline"]["psnr"] > 15
    assert any("the negative prompt has no effect at guidance 1" in note for note in report["notes"])


def test_guidance_is_one_batched_forward_and_one_frame_is_a_video(hunyuan, tmp_path):
    few = ("--frames", "1", "--steps", "6", "--task", "t2v-720p", "--size", "960x960", "--guidance", "4")
    done = hunyuan(*few, *SMALL, "--json", "-o", "v.mp4", "--weights", "random", on_cpu=True)
    totals = report_of(done)["totals"]
    assert totals["transformer_calls"] == totals["computed_steps"]
    assert read_video(tmp_path / "work/v.mp4")[0].shape == (1, 960, 960, 3)


def test_sizes_and_defaults_are_the_official_ones():
    preset = load_presets()["hunyuan"]
    assert preset.tasks["t2v-544p"]["sizes"] == ["960x544", "544x960", "832x624", "624x832", "720x720"]
    assert preset.tasks["t2v-720p"]["sizes"] == ["1280x720", "720x1280", "1104x832", "832x1104", "960x960"]
    plan = build_plan({"model": "hunyuan"}, [], None, {})
    assert (plan.steps, plan.guidance, plan.embedded_guidance, plan.shift) == (50, 1.0, 6.0, 7.0)
    assert (plan.frames, plan.fps, plan.size, plan.offload, plan.fp8) == (129, 24, "960x544", False, False)
    assert (plan.threshold, plan.align_steps) == (0.04, 5)


def test_no_repository(hunyuan, tmp_path):
    assert_refused(
        hunyuan(*SMALL, repo=None), 3, "needs its official repository", "NAVICACHE_HUNYUAN_REPO", "git clone"
    )
    image_to_video = tmp_path / "i2v"
    shutil.copytree(DOUBLE.path, image_to_video)
    (image_to_video / "sample_video.py").rename(image_to_video / "sample_image2video.py")
    assert_refused(hunyuan(*SMALL, repo=image_to_video), 3, "with sample_video.py; found a directory with")


def test_no_gpu(hunyuan):
    assert_refused(hunyuan(), 3, "HunyuanVideo expects an NVIDIA GPU, found none", "--weights random-small")


def test_out_of_gpu_memory(hunyuan, tmp_path):
    words = ("vec = self.time_in(", "raise torch.OutOfMemoryError('Tried to allocate 9 GiB.') or (")
    done = hunyuan(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, MODELS, words))
    assert_refused(done, 7, "Tried to allocate 9 GiB", "--offload", "--fp8", "--size", "--frames")
    assert not list((tmp_path / "work").rglob("*.mp4"))


def test_a_changed_forward(hunyuan, tmp_path):
    words = [
        ("self, x, t, text_states", "self, z, t, text_states"),
        ("len(x)", "len(z)"),
        ("proj(x)", "proj(z)"),
    ]
    done = hunyuan(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, MODELS, *words))
    assert_refused(done, 5, "expected a parameter 'x', found (z, t, text_states")


def test_changed_options(hunyuan, tmp_path):
    words = ('"--flow-reverse"', '"--flow-backwards"')
    done = hunyuan(*SMALL, repo=DOUBLE.changed(tmp_path, "hyvideo/config.py", words))
    assert_refused(done, 3, "hyvideo/config.py to take --flow-reverse", "unrecognized arguments", "fa14b00")


def test_a_package_that_is_missing(hunyuan, tmp_path):
    words = ("import torch\n", "import torch\nimport loguru_that_is_missing\n")
    done = hunyuan(*SMALL, repo=DOUBLE.changed(tmp_path, "hyvideo/inference.py", words))
    assert_refused(done, 3, "No module named 'loguru_that_is_missing'", "navicache setup hunyuan")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--size", "1280x720"), "size expects one of 960x544, 544x960, 832x624"),
        (("--frames", "128"), "frames expects 4n+1"),
        (("--fp8",), "fp8 expects the official fp8 weights"),
        (("--shift", "100000", "--steps", "900"), "the timestep of the one before"),
        (("--solver", "unipc"), "solver expects one of euler"),
        (("--image", "x.png"), "takes no image"),
        (
            ("--ulysses", "2", "--ring", "2"),
            "ulysses 2 times ring 2 expects 4 processes, found 1 process",
        ),
    ],
)
def test_refused_before_anything_is_loaded(hunyuan, arguments, told):
    assert_refused(hunyuan(*SMALL, *arguments), 2, told)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"ulysses": "2", "offload": "yes"}, UsageError, "cannot offload with several GPUs"),
        ({"ulysses": "7"}, UsageError, "size 960x544 expects a number of processes that divides 60 or 34"),
        (
            {"ulysses": "5", "size": "1280x720", "task": "t2v-720p"},
            UsageError,
            "a divisor of the 24 attention",
        ),
        ({"ulysses": "2", "ring": "3"}, BackendError, "expects xfuser installed, found no xfuser"),
    ],
)
def test_several_processes(monkeypatch, options, kind, told):
    from backends.hunyuan.processes import check_sharing
    from backends.official import distributed

    monkeypatch.setattr(distributed, "find_spec", lambda name: None)
    plan = build_plan({"model": "hunyuan", **options}, [], None, {})
    with pytest.raises(kind, match=told):
        check_sharing(plan)
    monkeypatch.setattr(distributed, "find_spec", lambda name: name)
    if kind is BackendError:
        check_sharing(plan)


@pytest.fixture
def weights(tmp_path):
    """A folder as ckpts/README.md lays it out, for the double."""
    code = (
        "import json, sys, torch\n"
        "from pathlib import Path\n"
        "from safetensors.torch import save_file\n"
        "sys.argv = ['x']\n"
        "from hyvideo.config import parse_args\n"
        "from hyvideo.modules import load_model\n"
        "from hyvideo.vae import VAE\n"
        "torch.manual_seed(0)\n"
        "model = load_model(parse_args(), 16, 16, {})\n"
        "torch.nn.init.normal_(model.final_layer.weight)\n"
        "parts = Path('hunyuan-video-t2v-720p')\n"
        "for part in ('transformers', 'vae'): (parts / part).mkdir(parents=True)\n"
        "torch.save({'module': model.state_dict()}, parts / 'transformers/mp_rank_00_model_states.pt')\n"
        "(parts / 'vae/config.json').write_text(json.dumps({'scaling_factor': 0.5}))\n"
        "torch.save({'state_dict': torch.nn.Linear(16, 3).state_dict()}, parts / 'vae/pytorch_model.pt')\n"
        "for name, size in (('text_encoder', 4096), ('text_encoder_2', 768)):\n"
        "    Path(name).mkdir()\n"
        "    for file in ('config', 'tokenizer_config'): Path(name, file + '.json').write_text('{}')\n"
        "    save_file({'bytes': torch.randn(256, size)}, Path(name, 'model.safetensors'))\n"
    )
    return DOUBLE.write_weights(tmp_path, code)


def test_generate_from_weights(hunyuan, weights, tmp_path):
    report = report_of(hunyuan(*QUICK, "--weights", str(weights), "--json", on_cpu=True))
    assert report["model"]["weights_digest"].startswith("sha256-sampled:")
    # Found in the managed place too, and the digest follows the content.
    managed = tmp_path / "cache/navicache/weights/HunyuanVideo"
    shutil.move(weights, managed)
    assert_made_from_weights(report, again=report_of(hunyuan(*QUICK, "--json", on_cpu=True)))
    (managed / "text_encoder_2/model.safetensors").unlink()
    assert_refused(
        hunyuan(*QUICK, on_cpu=True),
        4,
        "text_encoder_2/model.safetensors is missing",
        "navicache setup hunyuan --weights HunyuanVideo",
    )


def test_weights_missing(hunyuan, tmp_path):
    done = hunyuan(on_cpu=True)
    assert_refused(done, 4, "expected the weights of HunyuanVideo", "navicache setup hunyuan --weights")
    (tmp_path / "other" / "hunyuan-video-i2v-720p").mkdir(parents=True)
    done = hunyuan("--weights", str(tmp_path / "other"), on_cpu=True)
    assert_refused(done, 4, "found those of HunyuanVideo-I2V")


PARTS = [
    "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
    "hunyuan-video-t2v-720p/vae/config.json",
    "hunyuan-video-t2v-720p/vae/pytorch_model.pt",
    "text_encoder/model.safetensors",
    "text_encoder/tokenizer_config.json",
    "text_encoder_2/config.json",
]


def test_incomplete_weights(weights):
    from backends.hunyuan.weights import check_files, find_weights
    from backends.official.repositories import Checkout

    checkout = Checkout(DOUBLE.path, "--repo", "unknown")
    folder = find_weights(str(weights), checkout)
    check_files(folder, False, checkout)
    for name in PARTS:
        data = (folder / name).read_bytes()
        for damaged in (None, b"", data[: len(data) // 2]):
            if damaged is None:
                (folder / name).unlink()
            elif damaged and name.endswith(".json"):
                continue  # small text files are left to their own loader
            else:
                (folder / name).write_bytes(damaged)
            with pytest.raises(WeightsError, match=f"incomplete: {name} is ") as caught:
                check_files(folder, False, checkout)
            assert "hf download" in caught.value.hint
        (folder / name).write_bytes(data)
    with pytest.raises(WeightsError, match=r"mp_rank_00_model_states_fp8\.pt is missing"):
        check_files(folder, True, checkout)


def test_text_encoder_in_shards(weights):
    from backends.hunyuan.weights import check_files, weight_files
    from backends.official.repositories import Checkout

    folder, checkout = weights / "text_encoder", Checkout(DOUBLE.path, "--repo", "unknown")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(WeightsError, match=r"text_encoder/model-2\.safetensors is missing") as caught:
        check_files(weights, False, checkout)
    assert "preprocess_text_encoder_tokenizer_utils.py" in caught.value.hint
    shutil.copy(folder / "model-1.safetensors", folder / "model-2.safetensors")
    check_files(weights, False, checkout)
    index.write_text(json.dumps({"weight_map": {"a": "../../outside.safetensors"}}))
    assert all(
        path.is_relative_to(weights) and ".." not in path.parts for path in weight_files(weights, False)
    )


@pytest.mark.parametrize(("shape", "frames"), [((1, 3, 5, 4, 6), 5), ((1, 3, 4, 6), 1)])
def test_samples_become_a_video(shape, frames):
    import torch

    from backends.hunyuan.pipeline import read_samples

    samples = torch.rand(shape)
    video = read_samples(samples, (frames, 4, 6))
    assert video.shape == (3, frames, 4, 6)
    assert torch.allclose((video + 1) / 2, samples.reshape(video.shape), atol=1e-6)
    with pytest.raises(BackendError, match="expected samples of shape"):
        read_samples(samples, (frames, 6, 4))
