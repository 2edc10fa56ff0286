"""The launchers in scripts/, run by bash from inside stand-ins of the official checkouts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from navicache_cli.media.video import read_video, write_video
from tests.conftest import clean_environment
from tests.vbench_standin import calls, python_with_vbench

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("scripts/*.sh"))
COMMON_METRICS = "navicache_opensora_common_metrics.sh"
NASTY = """-a 'cat' says "hi"; $(touch pwned) `touch pwned` * \\ $HOME && ünï"""
MARKS = {
    "wan": "wan/text2video.py",
    "wan2.2": "wan/textimage2video.py",
    "hunyuan": "hyvideo/inference.py",
    "opensora": "opensora/__init__.py",
}
PUBLISHED = (
    "TASK", "SIZE", "CKPT_DIR", "IMAGE", "PROMPT", "SAVE_PATH", "NPROC",
    "SCORE_DIR", "GT_VIDEO_DIR", "GENERATED_VIDEO_DIR", "VIDEO_PATH", "PROMPT_PATH", "SEEDS", "DIMENSIONS",
    "VBENCH_PYTHON",
)  # fmt: skip


@pytest.fixture
def launcher(tmp_path):
    """Run a launcher in `where` with nothing but its own variables set."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("navicache", "navicache_cli"), ("torchrun", "torch.distributed.run")):
        file = programs / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        file.chmod(0o755)

    def run(name, *arguments, where=tmp_path, **variables):
        environment = clean_environment(
            PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT),
            CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(tmp_path / "cache"),
        )  # fmt: skip
        environment = {key: value for key, value in environment.items() if key not in PUBLISHED}
        return subprocess.run(
            ["bash", str(ROOT / "scripts" / name), *arguments],
            cwd=where, env={**environment, **variables}, capture_output=True, text=True, timeout=200,
            check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def inside(tmp_path):
    """A directory that looks like an official checkout."""

    def make(model):
        file = tmp_path / f"a checkout of {model}" / MARKS[model]
        file.parent.mkdir(parents=True)
        file.touch()
        return file.parents[1]

    return make


def plan_of(done):
    assert done.returncode == 0, done.stderr
    return {key: entry["value"] for key, entry in json.loads(done.stdout).items()}


CASES = [
    ("navicache_wan.sh", {}, {"task": "t2v-1.3B", "size": "832x480", "threshold": 0.07}),
    (
        "navicache_wan.sh",
        {"TASK": "t2v-14B", "SIZE": "720*1280", "CKPT_DIR": "my weights", "NAVICACHE_THRESH": "0.09",
         "NAVICACHE_ALIGN_STEPS": "7"},
        {"task": "t2v-14B", "size": "720x1280", "weights": "my weights", "threshold": 0.09, "align_steps": 7},
    ),
    ("navicache_wan_t2v_1.3b.sh", {"SIZE": "480*832"}, {"task": "t2v-1.3B", "size": "480x832"}),
    ("navicache_wan_t2v_14b.sh", {"TASK": "other"}, {"task": "t2v-14B", "size": "1280x720", "shift": 5.0}),
    ("navicache_wan_i2v_480p.sh", {"IMAGE": "a cat.png"},
     {"task": "i2v-14B", "size": "832x480", "image": "a cat.png", "steps": 40, "shift": 3.0}),
    ("navicache_wan_i2v_720p.sh", {"IMAGE": "cat.png"}, {"size": "1280x720", "shift": 5.0}),
    ("navicache_wan2.2.sh", {}, {"task": "t2v-A14B", "size": "1280x720", "speedup": 2.0, "steps": 40}),
    ("navicache_wan2.2.sh",
     {"TASK": "i2v-A14B", "SIZE": "832*480", "IMAGE": "cat.png", "NAVICACHE_THRESH": "0.09"},
     {"task": "i2v-A14B", "size": "832x480", "image": "cat.png", "threshold": 0.09, "speedup": 0.0}),
    (
        "navicache_hunyuan.sh",
        {"VIDEO_HEIGHT": "1280", "VIDEO_WIDTH": "720", "VIDEO_LENGTH": "65", "INFER_STEPS": "30"},
        {"task": "t2v-720p", "size": "720x1280", "frames": 65, "steps": 30, "threshold": 0.04},
    ),
    ("navicache_hunyuan.sh", {"SAVE_PATH": "some folder"},
     {"task": "t2v-544p", "size": "960x544", "output": "", "output_dir": "some folder"}),
    ("navicache_hunyuan_544p.sh", {"NAVICACHE_THRESH": "0.02"}, {"size": "960x544", "threshold": 0.02}),
    ("navicache_hunyuan.sh", {"VIDEO_HEIGHT": "720"}, {"task": "t2v-720p", "size": "1280x720"}),
    ("navicache_hunyuan.sh", {"VIDEO_WIDTH": "544"}, {"task": "t2v-544p", "size": "544x960"}),
    ("navicache_hunyuan_720p.sh", {"VIDEO_HEIGHT": "1280"}, {"size": "720x1280"}),
    ("navicache_hunyuan_720p.sh", {}, {"task": "t2v-720p", "size": "1280x720", "steps": 50}),
    ("navicache_opensora.sh", {"SAVE_PATH": "out/a b.mp4"}, {"output": "out/a b.mp4", "threshold": 0.55}),
    ("navicache_opensora_generate.sh", {"NAVICACHE_ALIGN_STEPS": "3"}, {"align_steps": 3, "steps": 30}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "variables", "expected"), CASES)
def test_variables(launcher, inside, name, variables, expected):
    model = name.split("_")[1].removesuffix(".sh")
    where = inside(model)
    done = launcher(name, "--dry-run", "--json", where=where, PROMPT=NASTY, **variables)
    plan = plan_of(done)
    assert plan["model"] == model
    assert plan["repo"] == str(where)
    assert plan["prompt"] == NASTY
    assert expected.items() <= plan.items()
    assert not list(where.rglob("pwned"))


def test_every_launcher_is_tested():
    others = {COMMON_METRICS, "navicache_opensora_vbench.sh"}
    assert {name for name, *_ in CASES} | others == {
        path.name for path in SCRIPTS if path.name.startswith("navicache_")
    }


@pytest.fixture
def folders(tmp_path):
    """The variables of two folders of small videos: one.mp4 is the same in both, two.mp4 is not."""
    for seed, name in enumerate(("the real ones", "made $(touch pwned)")):
        (tmp_path / name).mkdir()
        for video, change in (("one.mp4", 0), ("two.mp4", seed)):
            frames = np.random.default_rng(change).integers(0, 255, (2, 32, 48, 3)).astype(np.uint8)
            write_video(frames, tmp_path / name / video, 8, {})
    return {"GT_VIDEO_DIR": "the real ones", "GENERATED_VIDEO_DIR": "made $(touch pwned)"}


def test_common_metrics(launcher, folders, tmp_path):
    done = launcher(COMMON_METRICS, "--no-lpips", **folders, SCORE_DIR="my scores/new")
    assert done.returncode == 0, done.stderr
    assert "one.mp4" in done.stdout
    assert (tmp_path / "my scores/new/index.html").is_file()
    scores = json.loads((tmp_path / "my scores/new/common_metrics.json").read_text())
    assert (scores["a"], scores["b"]) == (folders["GT_VIDEO_DIR"], folders["GENERATED_VIDEO_DIR"])
    assert scores["files"]["one.mp4"]["psnr"]["mean"] == 100
    assert 0 < scores["files"]["two.mp4"]["psnr"]["mean"] < 20
    assert scores["lpips"] is None, "options are passed on"
    assert not list(tmp_path.rglob("pwned"))
    again = launcher(COMMON_METRICS, "--no-lpips", "--json", **folders, SCORE_DIR="my scores/new")
    assert json.loads(again.stdout) == scores
    assert "0 measured, 2 kept" in again.stderr


def test_common_metrics_of_nothing(launcher, folders, tmp_path):
    done = launcher(COMMON_METRICS, GT_VIDEO_DIR=folders["GT_VIDEO_DIR"])
    assert done.returncode != 0
    assert "GENERATED_VIDEO_DIR: the folder of generated videos" in done.stderr
    (tmp_path / "the real ones/two.mp4").unlink()
    done = launcher(COMMON_METRICS, **folders, SCORE_DIR="scores")
    assert done.returncode == 2
    assert "expected the same names in both folders" in " ".join(done.stderr.split())
    assert not (tmp_path / "scores").exists(), "no scores, no folder"


def test_arguments_win_and_arrive_whole(launcher):
    arguments = (
        "--mode",
        "slow",
        "--size",
        "480x832",
        "--seed",
        "5",
        "--prompt",
        NASTY,
        "--dry-run",
        "--json",
    )
    plan = plan_of(launcher("navicache_wan_t2v_1.3b.sh", *arguments, PROMPT="another", SIZE="832*480"))
    assert (plan["mode"], plan["size"], plan["seed"], plan["prompt"]) == ("slow", "480x832", 5, NASTY)
    assert plan["repo"] == "", "not inside a checkout"


def test_another_checkout_by_its_variable(launcher, inside):
    where = inside("wan")
    done = launcher("navicache_wan.sh", "--dry-run", "--json", where=where, NAVICACHE_WAN_REPO="/elsewhere")
    assert plan_of(done)["repo"] == "", "left to the variable, which comes before the current directory"


def test_one_side_of_several_sizes(launcher):
    done = launcher("navicache_hunyuan.sh", "--dry-run", VIDEO_HEIGHT="832")
    assert done.returncode != 0
    assert "set VIDEO_WIDTH too: 832 is high of several sizes" in done.stderr


def test_values_are_not_run(launcher, tmp_path):
    done = launcher("navicache_hunyuan.sh", "--dry-run", VIDEO_HEIGHT="a[$(touch pwned)]", VIDEO_WIDTH="960")
    assert done.returncode == 2
    assert "size expects WIDTHxHEIGHT" in done.stderr
    done = launcher("navicache_wan.sh", "--dry-run", NPROC="a[$(touch pwned)]")
    assert done.returncode != 0
    assert not list(tmp_path.rglob("pwned"))


def test_several_gpus(launcher):
    # Both processes resolve the plan; the first shows it.
    done = launcher("navicache_wan.sh", "--dry-run", "--json", NPROC="2", PROMPT=NASTY)
    plan = plan_of(done)
    assert (plan["ulysses"], plan["ring"], plan["offload"]) == (2, 1, False)
    assert plan["prompt"] == NASTY


def test_a_video_from_inside_a_checkout(launcher, tmp_path):
    where = tmp_path / "Wan2.1"
    shutil.copytree(ROOT / "tests/doubles/wan_repo", where, ignore=shutil.ignore_patterns("__pycache__"))
    done = launcher(
        "navicache_wan_t2v_1.3b.sh", "--frames", "5", "--steps", "4",
        where=where, CKPT_DIR="random-small", SAVE_PATH="out/v.mp4", PROMPT="a cat",
        NAVICACHE_ALIGN_STEPS="2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_video(where / "out/v.mp4")[0].shape == (5, 480, 832, 3)
    assert json.loads((where / "out/v.json").read_text())["plan"]["align_steps"]["value"] == 2


VBENCH = [{"prompt_en": "a red circle, 'still'", "dimension": ["color"]}]


def test_vbench_prompts(launcher, inside):
    where = inside("opensora")
    (where / "info.json").write_text(json.dumps(VBENCH))
    done = launcher(
        "navicache_opensora_vbench.sh", "--mode", "slow", "--dry-run", "--json",
        where=where, PROMPT_PATH="info.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == [f"a red circle, 'still'-{n}.mp4" for n in range(5)]
    assert [(row["seed"], row["mode"]) for row in rows] == [(n, "slow") for n in range(5)]
    assert launcher("navicache_opensora_vbench.sh", "--dry-run", where=where).returncode != 0, "no prompts"


def test_vbench_makes_videos_and_scores_them(launcher, tmp_path):
    """With a double of the package vbench."""
    python = python_with_vbench(tmp_path)
    (tmp_path / "info.json").write_text(json.dumps(VBENCH))
    settings = {
        "PROMPT_PATH": "info.json", "SEEDS": "1", "VIDEO_PATH": "$(touch pwned)", "SCORE_DIR": "my scores",
        "DIMENSIONS": "color", "VBENCH_PYTHON": str(python),
    }  # fmt: skip
    arguments = ("navicache_opensora_vbench.sh", "--model", "tiny", "--steps", "4")
    done = launcher(*arguments, **settings)
    assert done.returncode == 0, done.stderr
    videos = tmp_path / "$(touch pwned)/videos"
    assert [path.name for path in videos.iterdir()] == ["a red circle, 'still'-0.mp4"]
    scores = json.loads((tmp_path / "my scores/vbench.json").read_text())
    assert [entry["name"] for entry in scores["dimensions"]] == ["color"]
    assert (scores["folder"], scores["plan"]["steps"]["value"]) == ("../$(touch pwned)/videos", 4)
    # A folder of finished videos is scored as it is.
    finished = {**settings, "VIDEO_PATH": "$(touch pwned)/videos", "SCORE_DIR": "others"}
    done = launcher("navicache_opensora_vbench.sh", "--json", **finished)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dimensions"][0]["score"] == scores["dimensions"][0]["score"]
    assert json.loads(done.stdout)["plan"] is None
    assert calls(tmp_path) == ["color", "color"]
    assert not list(tmp_path.rglob("pwned"))


def test_vbench_shows_what_it_would_do(launcher, tmp_path):
    """With SCORE_DIR too, where the videos would be scored."""
    python = python_with_vbench(tmp_path)
    (tmp_path / "info.json").write_text(json.dumps(VBENCH))
    before = sorted(tmp_path.rglob("*"))
    settings = {"PROMPT_PATH": "info.json", "SEEDS": "2", "SCORE_DIR": "scores", "DIMENSIONS": "color"}
    arguments = ("navicache_opensora_vbench.sh", "--model", "tiny", "--dry-run", "--json")
    done = launcher(*arguments, **settings, VBENCH_PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert [row["seed"] for row in json.loads(done.stdout)] == [0, 1]
    assert "2 videos in vbench/videos would be scored" in " ".join(done.stderr.split())
    assert calls(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_vbench_without_the_package_makes_nothing(launcher, tmp_path):
    done = launcher(
        "navicache_opensora_vbench.sh", "--model", "tiny", SCORE_DIR="scores", VBENCH_PYTHON="/bin/false"
    )
    assert done.returncode == 3
    assert "expected the package vbench in /bin/false" in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell(script):
    """By shellcheck (in the `dev` extra) where it is, else the syntax alone."""
    checker = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    command = [checker, "-x"] if checker else ["bash", "-n"]
    done = subprocess.run([*command, str(script)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
