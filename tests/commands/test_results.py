"""Where results go: nothing of the user's is replaced unasked, and video and report come together."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tests.program import assert_refused

QUICK = ("generate", "--prompt", "a red circle moving right", "--steps", "3", "-q")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_where_the_report_goes_is_not_replaced(cli, tmp_path):
    (tmp_path / "shot.json").write_text('{"precious": 1}')
    assert_refused(cli(*QUICK, "-o", "shot.mp4"), 6, "shot.json exists already", "--overwrite")
    assert files_in(tmp_path) == ["shot.json"]
    assert cli(*QUICK, "-o", "shot.mp4", "--overwrite").returncode == 0
    assert "precious" not in (tmp_path / "shot.json").read_text()


@pytest.mark.parametrize("given", ["--prompt-file", "--config", "--set=ratios"])
def test_a_file_the_run_reads_is_not_replaced_even_when_asked(cli, tmp_path, given):
    path = tmp_path / "scene.json"
    ratios = [1.0, 0.9, 0.9]
    content = {"--config": '{"seed": 3}', "--set=ratios": json.dumps({"ratios": ratios})}.get(
        given, "a red star"
    )
    path.write_text(content)
    arguments = (
        ("--method", "magcache", "--set", "ratios=scene.json") if "=" in given else (given, "scene.json")
    )
    prompt = () if given == "--prompt-file" else ("--prompt", "a red star")
    done = cli("generate", *prompt, "--steps", "3", *arguments, "-o", "scene.mp4", "--overwrite")
    assert_refused(done, 6, "scene.json is read by this run itself")
    assert path.read_text() == content
    assert files_in(tmp_path) == ["scene.json"]


def test_a_folder_where_the_report_goes_is_found_before_the_work(cli, tmp_path):
    (tmp_path / "shot.json").mkdir()
    for more in ((), ("--overwrite",)):
        done = cli(*QUICK, "-o", "shot.mp4", *more)
        assert_refused(done, 6, "shot.json is a folder")
    assert files_in(tmp_path) == []


def test_a_name_too_long_for_the_report_alone_is_found_before_the_work(cli, tmp_path):
    name = "x" * 251 + ".mp4"  # 255 bytes; its report's would have 256
    assert_refused(cli(*QUICK, "-o", name), 6, "File name too long")
    assert files_in(tmp_path) == []


def test_no_video_without_its_report(tmp_path):
    """A limit on file size lets the video through and stops the longer report."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "navicache_cli", *QUICK, "--set", "frames=1", "--steps", "50"]
    whole = subprocess.run(command, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    video = tmp_path / whole.stdout.decode().strip()
    size = video.stat().st_size + 500
    assert video.with_suffix(".json").stat().st_size > size, "this test would show nothing"
    limited = tmp_path / "limited"
    limited.mkdir()
    done = subprocess.run(
        command, cwd=limited, env=clean_environment(), capture_output=True, text=True, preexec_fn=limit,
        check=False,
    )  # fmt: skip
    assert_refused(done, 6, "limit was reached")
    assert files_in(limited) == []


def test_two_runs_that_pick_the_same_name_both_keep_their_work(tmp_path):
    def run(_: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "navicache_cli", *QUICK], cwd=tmp_path,
            env=clean_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False,
        )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, range(2)))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    names = {Path(one.stdout.strip()).stem for one in done}
    assert len(names) == 2
    for name in names:
        report = json.loads((tmp_path / f"videos/{name}.json").read_text())
        assert report["output"]["path"] == f"videos/{name}.mp4"
    assert len(os.listdir(tmp_path / "videos")) == 4
