"""`navicache eval vbench`, with a double of the package vbench: what is called, scored, kept and refused."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from navicache_cli.errors import BackendError, OutputError, UsageError
from navicache_cli.evaluation.dimensions import DIMENSIONS, add_up
from navicache_cli.evaluation.documents import Evaluation
from navicache_cli.files import TakenError
from navicache_cli.locks import FolderLock
from navicache_cli.report.documents import as_document, plain
from tests.conftest import clean_environment
from tests.doubles.vbench_package.vbench import score_of
from tests.ground.test_processes import wait_for_end, wait_for_numbers
from tests.program import ROOT, invoke
from tests.vbench_standin import INFO, PROMPTS, calls, make_videos, python_with_vbench

NAMES = [f"{prompt}-0.mp4" for prompt in PROMPTS]
SHORT = ("--steps", "4", "--align-steps", "1")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A video of each prompt. Read only."""
    return make_videos(tmp_path_factory.mktemp("made") / "videos")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `navicache eval vbench` in an empty folder; an error of ours is raised as it is."""
    python = python_with_vbench(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, python: Path = python) -> str:
        return invoke("eval", "vbench", "--vbench-python", python, "--seeds", "1", *arguments)

    return run


def document(folder: Path) -> dict:
    found = json.loads((folder / "vbench.json").read_text())
    as_document(found, Evaluation)
    return found


def names_for(dimension: str) -> list[str]:
    entries = [entry for entry in json.loads(INFO.read_text()) if dimension in entry["dimension"]]
    return [
        name for name in NAMES if name.removesuffix("-0.mp4") in {entry["prompt_en"] for entry in entries}
    ]


def test_all_dimensions_of_a_folder(run, videos, tmp_path):
    shown = run("--videos", videos, "--scores", "scores here")
    folder = tmp_path / "scores here"
    found = document(folder)
    assert calls(tmp_path) == list(DIMENSIONS)
    values = {}
    for name, entry in zip(DIMENSIONS, found["dimensions"], strict=True):
        expected = [score_of(name, (videos / video).read_bytes()) for video in names_for(name)]
        values[name] = sum(expected) / len(expected)
        assert (entry["name"], entry["videos"], entry["error"]) == (name, len(expected), None)
        assert entry["score"] == pytest.approx(values[name])
        assert entry["normalised"] == pytest.approx(DIMENSIONS[name].normalise(values[name]))
    totals = plain(add_up(values))
    assert found["totals"] == pytest.approx(totals)
    assert f"{100 * totals['total']:.2f}" in shown
    assert found["plan"] is None
    assert [(video["name"], video["prompt"]) for video in found["videos"]] == [
        *zip(NAMES, PROMPTS, strict=True)
    ]
    scores = found["videos"][1]["scores"]
    data = (videos / NAMES[1]).read_bytes()
    assert scores["dynamic_degree"] == (score_of("dynamic_degree", data) > 0.5)
    assert scores["imaging_quality"] == pytest.approx(100 * score_of("imaging_quality", data))
    assert (folder / found["folder"]).resolve() == videos.resolve()
    assert any("1 videos of each prompt" in note for note in found["notes"])
    assert not (tmp_path / "vbench").exists(), "everything is where --scores says"


def test_json_is_the_document_and_no_page_is_written(run, videos, tmp_path):
    shown = run("--videos", videos, "--dimensions", "color", "--json", "--no-page")
    assert json.loads(shown) == document(tmp_path / "vbench")
    assert not (tmp_path / "vbench/index.html").exists()
    assert json.loads(shown)["totals"] == {"quality": None, "semantic": None, "total": None}


def test_again_scores_what_is_new_or_changed(run, videos, tmp_path):
    copied = shutil.copytree(videos, tmp_path / "copied")
    run("--videos", copied, "--dimensions", "color,scene")
    first = document(tmp_path / "vbench")
    run("--videos", copied, "--dimensions", "color,scene")
    assert calls(tmp_path) == ["color", "scene"], "nothing is scored twice"
    assert document(tmp_path / "vbench") == first
    scene = copied / names_for("scene")[0]
    assert scene.name not in names_for("color")
    scene.write_bytes((videos / NAMES[0]).read_bytes())
    (tmp_path / "vbench/scores/human_action.json").write_text('{"key": "cut of')
    run("--videos", copied, "--dimensions", "color,scene,human_action")
    assert calls(tmp_path)[2:] == ["human_action", "scene"]
    assert document(tmp_path / "vbench") != first


@pytest.mark.parametrize("damage", ['{"key"', "[]", '{"key": "%s", "score": "high"}', "null", "[" * 9999])
def test_a_damaged_record_is_scored_again(run, videos, tmp_path, damage):
    run("--videos", videos, "--dimensions", "color")
    record = tmp_path / "vbench/scores/color.json"
    key = json.loads(record.read_text())["key"]
    record.write_text(damage % key if "%s" in damage else damage)
    run("--videos", videos, "--dimensions", "color")
    assert calls(tmp_path) == ["color", "color"]
    assert json.loads(record.read_text())["key"] == key


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("VBENCH_FAILS", "No module named 'detectron2'"), ("VBENCH_NAN", "expected a score of color")],
)
def test_a_dimension_that_fails_leaves_the_others(run, videos, tmp_path, trouble, told):
    broken = python_with_vbench(tmp_path, **{trouble: "color"})
    with pytest.raises(BackendError, match="1 of 2 dimensions have no score") as caught:
        run("--videos", videos, "--dimensions", "color,scene", python=broken)
    assert told in caught.value.message
    color, scene = document(tmp_path / "vbench")["dimensions"]
    assert told in color["error"]
    assert (color["score"], scene["error"]) == (None, None)
    assert "talking of color" in (tmp_path / "vbench/scores/vbench/color.log").read_text()
    mended = python_with_vbench(tmp_path)
    run("--videos", videos, "--dimensions", "color,scene", python=mended)
    assert calls(tmp_path) == ["color", "scene", "color"], "only what failed is tried again"


REFUSED = [
    (("--dimensions", "colour"), UsageError, "did you mean color?"),
    (("--seeds", "6"), UsageError, "seeds expects 1 to 5"),
    (
        ("--seeds", "2"),
        UsageError,
        "6 videos in videos; 3 are missing, the first is 'a red circle-1.mp4'",
    ),
    (("--videos", "none"), OutputError, "cannot read the folder none: No such file"),
    (("--prompts", "p.txt"), UsageError, "expected VBench's list of prompts"),
    (("--prompts", "other.json"), UsageError, "entry 1: expected VBench's list"),
    (("--prompts", "few.json"), UsageError, "expected prompts for subject_consistency in few.json"),
    (("--mode", "slow"), UsageError, "found --mode"),
    (("--set", "steps=3"), UsageError, "found --set"),
    (("--vbench-python", "none"), BackendError, "cannot be run"),
    (("--vbench-python", "./python without"), BackendError, "expected the package vbench"),
    (("--scores", "p.txt"), OutputError, "cannot write in p.txt"),
]


@pytest.mark.parametrize(("arguments", "kind", "told"), REFUSED, ids=[told for _, _, told in REFUSED])
def test_what_is_wrong_is_told_before_anything_is_scored(run, videos, tmp_path, arguments, kind, told):
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "p.txt").write_text("a cat")
    (tmp_path / "other.json").write_text('[{"prompt": "a cat"}]')
    (tmp_path / "few.json").write_text('[{"prompt_en": "a red circle", "dimension": ["color"]}]')
    bare = tmp_path / "python without"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S "$@"\n')
    bare.chmod(0o755)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind) as caught:
        run("--videos", "videos", *arguments)
    assert told in caught.value.message
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"


@pytest.mark.parametrize("name", ["vbench.json", "index.html"])
def test_a_file_of_the_user_is_not_replaced(run, videos, tmp_path, name):
    mine = tmp_path / "vbench" / name
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(TakenError) as caught:
        run("--videos", videos)
    assert f"rename or remove {name}" in caught.value.hint
    assert [path.read_text() for path in mine.parent.iterdir()] == ["mine"]


def test_the_list_of_prompts_that_is_read_is_not_replaced(run, videos, tmp_path):
    run("--videos", videos, "--dimensions", "color,scene", "--no-page")
    mine = tmp_path / "vbench/scores/navicache-prompts.json"
    before = mine.read_text()
    with pytest.raises(OutputError, match="is read by this run itself"):
        run("--videos", videos, "--dimensions", "color", "--prompts", mine)
    assert mine.read_text() == before


def test_a_second_run_in_the_folder_is_refused(run, videos, tmp_path):
    run("--videos", videos, "--dimensions", "color")
    lock = FolderLock(tmp_path / "vbench/scores", "evaluation")
    with lock, pytest.raises(OutputError, match="another run works on this evaluation") as caught:
        run("--videos", videos, "--dimensions", "color")
    assert "--scores" in caught.value.hint
    run("--videos", videos, "--dimensions", "color")
    assert calls(tmp_path) == ["color"]


def test_what_a_killed_run_left_is_removed(run, videos, tmp_path):
    parts = [tmp_path / f"vbench/{place}.x.navicache-0123456789abcdef.part.json" for place in ("", "scores/")]
    for part in parts:
        part.parent.mkdir(exist_ok=True)
        part.write_text("half")
    run("--videos", videos, "--dimensions", "color")
    assert not any(part.exists() for part in parts)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_vbench_ends_with_the_program(videos, tmp_path, name):
    """It has started another program by then, as its loaders of data do."""
    python_with_vbench(tmp_path)
    program = tmp_path / "python that takes long"
    program.write_text(
        f'#!/bin/sh\n[ "$2" = find ] && exec "{tmp_path}/python with vbench" "$@"\n'
        f'echo $$ > "{tmp_path}/started"; sleep 60 & echo $! >> "{tmp_path}/started"; wait\n'
    )
    program.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "navicache_cli", "eval", "vbench", "--vbench-python", str(program),
         "--seeds", "1", "--videos", str(videos), "--dimensions", "color"],
        cwd=tmp_path, env=clean_environment(PYTHONPATH=str(ROOT)), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    numbers = wait_for_numbers(tmp_path / "started", process)
    process.send_signal(signal.Signals[name])
    assert "no dimension is scored yet" in process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.Signals[name]
    wait_for_end(numbers)


def test_a_file_that_vbench_would_stumble_over(run, videos, tmp_path):
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "videos/.DS_Store").touch()
    with pytest.raises(UsageError, match=r"found '.DS_Store'"):
        run("--videos", "videos")


def test_a_named_pipe_is_no_video(run, videos, tmp_path):
    shutil.copytree(videos, tmp_path / "v")
    (tmp_path / "v" / NAMES[0]).unlink()
    os.mkfifo(tmp_path / "v" / NAMES[0])
    with pytest.raises(UsageError, match="is no regular file"):
        run("--videos", tmp_path / "v")


def test_videos_are_made_then_scored_and_kept(cli, tmp_path):
    """The whole program, with this Python's own torch."""
    python = python_with_vbench(tmp_path, quick=False)
    arguments = (
        "eval", "vbench", "--vbench-python", str(python), "--dimensions", "color", "--seeds", "2", *SHORT,
        "--output-dir", "out", "--mode", "slow",
    )  # fmt: skip
    done = cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = document(tmp_path / "out")
    assert json.loads(done.stdout) == found
    # The other prompts are not needed for this dimension, and not made.
    names = ["a red circle-0.mp4", "a red circle-1.mp4"]
    assert sorted(path.name for path in (tmp_path / "out/videos").iterdir()) == names
    assert [video["name"] for video in found["videos"]] == names
    assert (found["plan"]["mode"]["value"], found["plan"]["steps"]["value"]) == ("slow", 4)
    assert found["folder"] == "videos"
    assert (tmp_path / "out/index.html").is_file()
    again = cli(*arguments)
    assert again.returncode == 0, again.stderr
    assert calls(tmp_path) == ["color"]
    assert "2 of 2 finished, 0 now" in again.stderr
    assert "kept from before" in again.stderr
