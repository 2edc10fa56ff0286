"""The real package vbench beside its double: dimensions, prompts, and the names of videos it looks for.

Enabled where vbench is installed or on the PYTHONPATH, with decord; its networks are not loaded.
"""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest

from navicache_cli.evaluation.dimensions import DIMENSIONS
from navicache_cli.evaluation.package import find_vbench
from navicache_cli.evaluation.prompts import check_videos, read_entries, video_names

pytestmark = pytest.mark.skipif(util.find_spec("vbench") is None, reason="pip install vbench")


@pytest.fixture(scope="module")
def prompts() -> Path:
    return find_vbench(None).prompts


def test_the_list_of_prompts(prompts):
    """As its readme counts them: 946 entries, of which two prompts are in two."""
    entries = read_entries(prompts, list(DIMENSIONS))
    assert len(entries) == 946
    assert len(video_names(entries, 5)) == 944 * 5
    assert len(read_entries(prompts, ["color"])) == 85


def test_it_finds_every_video_by_its_name(prompts, tmp_path, capsys):
    """Each video that we expect for a dimension is one that vbench takes, and it misses none."""
    import torch

    from tests.doubles.standins import put_torchvision_in_place

    pytest.importorskip("decord", reason="vbench imports decord")
    put_torchvision_in_place()
    from vbench import VBench

    names = video_names(read_entries(prompts, ["color"]), 5)
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in names:
        (videos / name).touch()
    check_videos(videos, names)
    package = VBench(torch.device("cpu"), str(prompts), str(tmp_path / "out"))
    assert set(package.build_full_dimension_list()) == set(DIMENSIONS)
    found = Path(package.build_full_info_json(str(videos), "color", ["color"], mode="vbench_standard"))
    taken = [path for entry in json.loads(found.read_text()) for path in entry["video_list"]]
    assert sorted(Path(path).name for path in taken) == sorted(names)
    assert "WARNING" not in capsys.readouterr().out
