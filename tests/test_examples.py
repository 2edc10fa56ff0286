"""The examples run as examples/README.md says, on `tiny` and on a double of the official code.

`examples/plugin` is tested in tests/backends/test_plugin.py.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from navicache_cli.media.video import read_video
from tests.conftest import clean_environment
from tests.doubles.double import Double
from tests.program import ROOT, invoke

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("accelerate", reason="pip install 'navicache[diffusers]' to load exported folders")
    made = tmp_path_factory.mktemp("exported")
    invoke("export-tiny", made / "tiny-diffusers")
    return made


def run_script(name: str, folder: Path, *arguments: str) -> None:
    """Run a shell script of examples/ in a folder, where `navicache` is this one."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    program = folder / "bin/navicache"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m navicache_cli "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [EXAMPLES / name, *arguments],
        cwd=folder,
        env=clean_environment(
            PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT)
        ),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_pipeline_of_diffusers(exported, tmp_path, monkeypatch, capsys):
    small = ("--steps", "8", "--height", "64", "--width", "64", "--frames", "17")
    arguments = ("--model", str(exported / "tiny-diffusers"), "--prompt", "a red circle moving right", *small)
    monkeypatch.setattr(sys, "argv", ["diffusers_pipeline.py", *arguments])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "diffusers_pipeline.py"), run_name="__main__")
    assert "4 of 8 steps skipped (50%)" in capsys.readouterr().out
    assert read_video(tmp_path / "video.mp4")[0].shape == (17, 64, 64, 3)


def test_the_notebook(exported, monkeypatch, capsys):
    plt = pytest.importorskip("matplotlib.pyplot", reason="pip install 'navicache[plot]'")
    plt.switch_backend("agg")
    monkeypatch.chdir(exported)
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "it is kept without outputs"
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {cell['id']}", "exec"), names)
    assert "10 of 20 steps skipped (50%)" in capsys.readouterr().out
    assert 30 < names["psnr"] < 100, "close to the uncached video, and not it"
    assert len(names["figure"].axes) == 8
    plt.close("all")


def test_an_official_model_without_weights(tmp_path):
    few = ("--steps", "6", "--align-steps", "2", "--threshold", "1000", "--size", "832x480")
    run_script("official_model.sh", tmp_path, str(Double("wan").path), *few)
    assert read_video(tmp_path / "official.mp4")[0].shape == (5, 480, 832, 3)
    report = json.loads((tmp_path / "official.json").read_text())
    assert report["model"]["name"] == "Wan2.1 t2v-1.3B"
    assert report["totals"]["skipped_steps"] == 3


@pytest.mark.slow
def test_a_batch_on_ray(tmp_path):
    pytest.importorskip("ray", reason="pip install 'navicache[ray]'")
    run_script("batch_on_ray.sh", tmp_path, "--workers", "2", "--steps", "8")
    assert len(list((tmp_path / "batch/videos").glob("*.mp4"))) == 3
    assert (tmp_path / "batch/index.html").exists()
    states = [json.loads(line).get("state") for line in (tmp_path / "batch/manifest.jsonl").open()]
    assert states.count("done") == 3
