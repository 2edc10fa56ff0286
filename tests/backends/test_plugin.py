"""A model family of another package: examples/plugin, installed, and used through the real program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import warm
from tests.conftest import clean_environment
from tests.program import ROOT, assert_refused, report_of

FAST = ("--model", "dots", "--steps", "8", "--frames", "4")


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    """Run the program beside the installed package, in a folder of its own."""
    root = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples/plugin", root / "source")  # pip builds in place
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--target", str(root / "site"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (root / "work").mkdir()
    paths = os.pathsep.join([str(root / "site"), str(ROOT)])

    def run(*arguments):
        environment = clean_environment(PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="")
        return warm.run(*arguments, cwd=root / "work", env=environment)

    run.folder = root / "work"
    return run


def test_it_is_listed(dots):
    rows = {row["model"]: row for row in json.loads(dots("models", "--json").stdout)}
    assert rows["dots"] == {
        "model": "dots",
        "title": "dots (the exact denoiser of 144 drawn clips)",
        "repository": "",
        "tasks": {"t2v": ["32x32", "64x64"]},
        "package": "navicache-dots 0.1.0",
        "ready": True,
        "problem": "",
    }
    assert rows["tiny"]["package"] == "navicache"
    (preset,) = json.loads(dots("presets", "--model", "dots", "--json").stdout).values()
    assert preset["modes"]["fast"] == {"threshold": 0.1}
    assert "dots: chosen by hand" in dots("presets").stdout


def test_doctor_looks_at_it(dots):
    document = json.loads(dots("doctor", "--model", "dots", "--json").stdout)
    assert document["ready"], "it runs without a GPU"
    assert document["checks"][-1]["found"] == "ready, by navicache-dots 0.1.0"


def test_what_it_shows(dots):
    done = dots(
        "generate", *FAST, "--prompt", "a blue dot moving up", "--baseline", "--json", "-o", "blue.mp4"
    )
    report = report_of(done)
    assert report["plan"]["threshold"] == {"value": 0.1, "source": "preset dots fast"}
    assert report["model"]["commit"] == "navicache-dots 0.1.0"
    assert 0 < report["totals"]["skipped_steps"] < 8
    assert report["totals"]["transformer_calls_saved"] == 2 * report["totals"]["skipped_steps"]
    assert report["baseline"]["psnr"] > 40
    import imageio.v3 as iio

    frames = iio.imread(dots.folder / "blue.mp4")
    assert frames.shape == (4, 32, 32, 3)
    red, _, blue = frames[0].reshape(-1, 3).max(0)
    assert blue > 150 > red
    height = [frame[:, :, 2].astype(float).sum(1).argmax() for frame in frames]
    assert height[-1] < height[0], "it moves up"
    again = report_of(
        dots("generate", *FAST, "--prompt", "a blue dot moving up", "--json", "-o", "again.mp4")
    )
    assert again["output"]["sha256"] == report["output"]["sha256"]


def test_a_batch(dots):
    (dots.folder / "prompts.txt").write_text("a red dot moving left\na green dot moving down\n")
    done = dots("batch", "prompts.txt", *FAST, "--methods", "navicache,easycache", "--output-dir", "out")
    assert done.returncode == 0, done.stderr
    assert len(list((dots.folder / "out/videos").glob("*.mp4"))) == 4
    report = dots("batch-report", "out", "--json", "--no-page")
    assert report.returncode == 0, report.stderr


def test_a_comparison(dots):
    done = dots("compare", *FAST, "--modes", "fast", "--no-page", "--no-lpips", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    made = {setting["method"] for setting in document["settings"]}
    assert made >= {"off", "navicache", "easycache", "fewer-steps"}
    assert document["prompts"] == ["a red dot moving right", "a blue dot moving up"]
    assert "teacache is left out: method expects one that dots offers" in " ".join(document["notes"])


def test_recording_and_replay(dots):
    report_of(dots("generate", *FAST, "--mode", "off", "--trajectory", "--json", "-o", "off.mp4"))
    done = dots("replay", "off.json", "--json")
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    assert [setting["threshold"] for setting in settings] == [0.02, 0.05, 0.1], "those of its modes"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("generate", "--model", "dots", "--size", "480p"), 2, "size expects"),
        (("generate", "--model", "dots", "--method", "pab"), 2, "one that dots offers"),
        (("generate", "--model", "dots", "--weights", "x"), 2, "dots has no weights"),
        (("generate", "--model", "dots", "--ulysses", "2"), 2, "dots takes no ulysses"),
        (("generate", "--model", "dot"), 2, "did you mean dots?"),
        (("setup", "dots"), 2, "'dots' is of the package navicache-dots 0.1.0"),
        (("compare", "--model", "dots", "--methods", "diffusers:fbcache"), 2, "found dots"),
    ],
)
def test_what_it_cannot_do(dots, arguments, code, told):
    assert_refused(dots(*arguments), code, told)
