"""The Open-Sora 1.2 backend through the real program, on small doubles of the official packages."""

from __future__ import annotations

import shutil

import pytest

from navicache_cli.media.video import read_video
from tests.doubles.double import Double, assert_generated, assert_made_from_weights
from tests.program import assert_refused, report_of

DOUBLE = Double("opensora")
VIDEOSYS = Double("opensora", "videosys")
STDIT3 = "opensora/models/stdit/stdit3.py"
SMALL = ("--weights", "random-small")
QUICK = ("--size", "144p", "--aspect-ratio", "1:1", "--frames", "17", "--steps", "12", "--align-steps", "4")


@pytest.fixture
def opensora(tmp_path):
    """Run `navicache generate --model opensora` in an empty folder; nothing but --repo finds the double."""
    return DOUBLE.program(tmp_path)


@pytest.mark.shows("modes", "opensora t2v")
def test_generate(opensora, tmp_path):
    done = opensora(*QUICK, *SMALL, "--json", "--baseline", "-o", "v.mp4")
    report = assert_generated(done, tmp_path / "work/v.mp4", (17, 192, 192, 3), fps=24, tested="17cce90")
    totals = report["totals"]
    assert 0 < totals["skipped_steps"] < 8
    assert totals["transformer_calls"] == totals["computed_steps"], "both branches in one forward"
    assert report["plan"]["size"] == {"value": "192x192", "source": "--size"}
    assert report["model"]["name"] == "Open-Sora 1.2 t2v"


def test_generate_through_videosys(tmp_path):
    generate = VIDEOSYS.program(tmp_path)
    done = generate(*QUICK, *SMALL, "--json", "--baseline", "-o", "v.mp4")
    report = assert_generated(done, tmp_path / "work/v.mp4", (17, 192, 192, 3), fps=24, tested="4cce477")
    totals = report["totals"]
    assert 0 < totals["skipped_steps"] < 8
    assert totals["transformer_calls"] == totals["computed_steps"], "both branches in one forward"
    assert report["model"]["repository"] == "https://github.com/NUS-HPC-AI-Lab/VideoSys"


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "told"),
    [
        ("pipelines/open_sora/pipeline_open_sora.py", "cfg_scale=7.0", "scale=7.0", 3, "'cfg_scale'"),
        ("models/transformers/open_sora_transformer_3d.py", "self, x, y, t", "self, z, y, t", 5, "(z, y, t"),
    ],
)
def test_a_changed_videosys(tmp_path, file, old, new, code, told):
    generate = VIDEOSYS.program(tmp_path)
    repo = VIDEOSYS.changed(tmp_path, f"videosys/{file}", (old, new))
    assert_refused(generate(*QUICK, *SMALL, repo=repo), code, told)


def test_full_random_weights_and_an_image(opensora, tmp_path):
    image = ("--frames", "image", "--size", "240p", "--aspect-ratio", "16:9", "--guidance", "1")
    done = opensora(*image, "--weights", "random", "--steps", "7", "--quiet", "-o", "v.mp4", on_cpu=True)
    assert done.returncode == 0, done.stderr
    # 240 × 426 in whole cells of 8 × 8 pixels.
    assert read_video(tmp_path / "work/v.mp4")[0].shape == (1, 424, 240, 3)


def test_off_equals_threshold_zero(opensora, tmp_path):
    def frames(*arguments):
        done = opensora(*QUICK, "--steps", "7", *SMALL, "--overwrite", "-o", "v.mp4", *arguments)
        assert done.returncode == 0, done.stderr
        return read_video(tmp_path / "work/v.mp4")[0]

    assert (frames("--mode", "off") == frames("--threshold", "0")).all()


def test_no_repository(opensora, tmp_path):
    done = opensora(*SMALL, repo=None)
    assert_refused(
        done, 3, "needs its official repository", "NAVICACHE_OPENSORA_REPO", "'opensora' or 'videosys'",
        "git clone --branch v1.2.0",
    )  # fmt: skip
    (tmp_path / "two" / "opensora" / "models" / "mmdit").mkdir(parents=True)
    done = opensora(*SMALL, repo=tmp_path / "two")
    assert_refused(
        done, 3, "expected Open-Sora 1.2's repository", "opensora/models/stdit/stdit3.py",
        "or VideoSys's with videosys/pipelines/open_sora", "found a directory with opensora",
        "--branch v1.2.0",
    )  # fmt: skip


def test_found_by_the_variable_and_no_gpu(opensora):
    done = opensora(repo=None, env={"NAVICACHE_OPENSORA_REPO": str(DOUBLE.path)})
    assert_refused(done, 3, "expects an NVIDIA GPU, found none", "--weights random-small --size 144p")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--frames", "16"), "frames expects 1 or at least 17 for opensora, found '16' (--frames)"),
        (("--frames", "3s"), "or one of image, 2s, 4s"),
        (("--size", "832x480"), "size expects one of 144p, 240p, 360p, 480p, 720p"),
        (("--size", "480"), "WIDTHxHEIGHT, such as 832x480, or one of 144p"),
        (
            ("--aspect-ratio", "16:10"),
            "unknown aspect-ratio of opensora '16:10', expected one of: 9:16, 16:9",
        ),
        (("--size", "854x480", "--aspect-ratio", "1:1"), "aspect-ratio expects 9:16"),
        (("--seed", "-1"), "seed expects 0 to 4294967295"),
        (("--shift", "3"), "shift expects 1, as the sampler sets it"),
        (("--negative-prompt", "ugly"), "negative-prompt expects nothing"),
        (("--prompt", 'a cat {"reference_path": "/etc/passwd"}'), "plain text without {"),
        (("--prompt", "|0| a cat |1| a dog"), "without |0|"),
        (("--solver", "unipc"), "solver expects one of rflow"),
        (("--t5-cpu",), "opensora takes no t5-cpu"),
    ],
)
def test_refused_before_anything_is_loaded(arguments, told):
    from backends.opensora.backend import check_plan
    from navicache_cli.errors import UsageError
    from navicache_cli.plan.plan import build_plan

    flags = {"model": "opensora"}
    names = iter(arguments)
    for name in names:
        flags[name[2:].replace("-", "_")] = True if name == "--t5-cpu" else next(names)
    with pytest.raises(UsageError) as caught:
        check_plan(build_plan(flags, [], None, {}))
    assert told in caught.value.message
    assert caught.value.hint


def test_out_of_gpu_memory(opensora, tmp_path):
    fault = "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB.')"
    words = ("batch, _, frames, rows, columns = x.shape", fault)
    done = opensora(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, STDIT3, words))
    assert_refused(done, 7, "Tried to allocate 9 GiB", "smaller --size", "fewer --frames")
    assert not list((tmp_path / "work").rglob("*.mp4"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("self, x, timestep, y", "self, x, time, y", "expected a parameter 'timestep', found (x, time"),
        (
            "self.spatial_blocks, self.temporal_blocks",
            "self.spatial, self.temporal",
            "as many spatial_blocks",
        ),
    ],
)
def test_a_changed_structure(opensora, tmp_path, old, new, told):
    repo = DOUBLE.changed(tmp_path, STDIT3, (old, new))
    assert_refused(opensora(*QUICK, *SMALL, repo=repo), 5, told)


def test_a_missing_package_is_named(opensora, tmp_path):
    words = ("import json\n", "import json, absent_package\n")
    done = opensora(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, STDIT3, words))
    assert_refused(done, 3, "No module named 'absent_package'", "navicache setup opensora")


def test_training_code_of_an_absent_package_says_so(opensora, tmp_path):
    words = ('if not from_pretrained.startswith("hpcai-tech/")', "if True")
    done = opensora(*QUICK, *SMALL, repo=DOUBLE.changed(tmp_path, "opensora/models/vae/vae.py", words))
    assert_refused(
        done, 3, "colossalai.checkpoint_io.GeneralCheckpointIO, which is not", "pip install colossalai"
    )


@pytest.fixture
def weights(tmp_path):
    """The four folders of weights, for the double."""
    code = (
        "import sys, json, torch\n"
        "from pathlib import Path\n"
        "from backends.opensora.absent import placeholders\n"
        "with placeholders():\n"
        "    from opensora.models import stdit3, t5, vae\n"
        "from safetensors.torch import save_file\n"
        "torch.manual_seed(0)\n"
        "def folder(name, config, inside=''):\n"
        "    path = Path(name) / inside\n"
        "    path.mkdir(parents=True)\n"
        "    (path / 'config.json').write_text(json.dumps(config))\n"
        "    return path\n"
        "model = stdit3.STDiT3(stdit3.STDiT3Config())\n"
        "path = folder('OpenSora-STDiT-v3', {'model_type': 'STDiT3'})\n"
        "save_file(model.state_dict(), path / 'model.safetensors')\n"
        "path = folder('OpenSora-VAE-v1.2', {'model_type': 'VideoAutoencoderPipeline'})\n"
        "save_file({'colours.weight': torch.randn(3, 4), 'colours.bias': torch.zeros(3)},"
        " path / 'model.safetensors')\n"
        "path = folder('pixart_sigma_sdxlvae_T5_diffusers', {'_class_name': 'AutoencoderKL'}, 'vae')\n"
        "save_file({'a': torch.zeros(1)}, path / 'diffusion_pytorch_model.safetensors')\n"
        "path = folder('t5-v1_1-xxl', {'model_type': 't5', 'd_model': 4096})\n"
        "torch.save(torch.randn(256, 4096), path / 'pytorch_model.bin')\n"
        "(path / 'spiece.model').write_text('pieces')\n"
    )
    return DOUBLE.write_weights(tmp_path, code)


def test_generate_from_weights(opensora, weights, tmp_path):
    report = report_of(opensora(*QUICK, "--weights", str(weights), "--json", on_cpu=True))
    assert report["model"]["weights_digest"].count("sha256-sampled:") == 2
    # Found by their official names too, and the digest follows the content.
    (tmp_path / "cache/navicache").mkdir(parents=True)
    shutil.move(weights, tmp_path / "cache/navicache/weights")
    assert_made_from_weights(report, again=report_of(opensora(*QUICK, "--json", on_cpu=True)))


def test_weights_missing(opensora, tmp_path):
    told = "expected the weights hpcai-tech/OpenSora-STDiT-v3"
    assert_refused(opensora(on_cpu=True), 4, told, "navicache setup opensora --weights Open-Sora-1.2")
    done = opensora("--weights", str(tmp_path / "absent"), on_cpu=True)
    assert_refused(done, 4, "absent", told, "hf download hpcai-tech/OpenSora-STDiT-v3")


def test_damaged_content_is_a_weights_error(opensora, weights):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, weights / "OpenSora-STDiT-v3" / "model.safetensors")
    done = opensora(*QUICK, "--weights", str(weights), on_cpu=True)
    assert_refused(done, 4, "cannot be loaded", "--force-download")


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("OpenSora-STDiT-v3/config.json", b'{"model_type": "STDiT4"}', "model_type STDiT3.*found 'STDiT4'"),
        ("OpenSora-STDiT-v3/config.json", b"[]", "cannot read their description: it holds no mapping"),
        ("OpenSora-VAE-v1.2/model.safetensors", None, "incomplete: model.safetensors is missing"),
        ("OpenSora-VAE-v1.2/model.safetensors", b"cut", "model.safetensors is cut short"),
        ("pixart_sigma_sdxlvae_T5_diffusers/vae/config.json", None, "No such file"),
        ("t5-v1_1-xxl/pytorch_model.bin", b"PK", "pytorch_model.bin is cut short"),
        ("t5-v1_1-xxl/spiece.model", None, "spiece.model is missing"),
        (
            "t5-v1_1-xxl/pytorch_model.bin.index.json",
            b'{"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}',
            "pytorch_model-00001-of-00002.bin is missing",
        ),
    ],
)
def test_incomplete_weights(weights, tmp_path, file, damage, told):
    from backends.official.repositories import Checkout
    from backends.opensora.weights import check_weights, find_weights
    from navicache_cli.errors import WeightsError

    folders = find_weights(str(weights), Checkout(tmp_path, "--repo", "unknown"))
    check_weights(folders)
    path = weights / file
    if path.suffixes[-2:] == [".index", ".json"]:
        (weights / "t5-v1_1-xxl/pytorch_model.bin").unlink()
    path.unlink(missing_ok=True)
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match=told) as caught:
        check_weights(folders)
    assert "hf download" in caught.value.hint
