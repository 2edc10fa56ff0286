"""scripts/load_batch.py: that it counts what went wrong, and that one kill loses nothing."""

from __future__ import annotations

import argparse
import os

import pytest

from tests.program import loaded_script


@pytest.fixture(scope="module")
def script():
    yield from loaded_script("load_batch")


@pytest.fixture(scope="module")
def measured(script, tmp_path_factory):
    """Two videos, and one kill soon after the start. Read only."""
    folder = tmp_path_factory.mktemp("load")
    chosen = argparse.Namespace(
        count=2, steps=3, workers=2, kills=1, longest=1.0, engines="serial", manifest_videos=1000, seed=0
    )
    return folder, script.measure(folder, chosen, script.PARTS)


def test_a_kill_loses_nothing(measured):
    _, found = measured
    kills = found["kills"]
    assert (kills.pop("kills"), kills.pop("videos")) == (1, 2)
    assert kills == dict.fromkeys(kills, 0)
    assert found["scaling"]["serial"]["videos_a_minute"] > 0
    assert set(found["memory"]) == {"serial"}
    assert found["manifest"]["videos"] == 1000


def test_what_went_wrong_is_counted(measured, script):
    folder, _ = measured
    videos = sorted((folder / "killed/videos").iterdir())
    assert script.count_lost(folder / "killed") == 0
    videos[0].write_bytes(videos[0].read_bytes()[:100])
    assert not script.decodes(videos[0])
    videos[1].unlink()
    assert script.count_lost(folder / "killed") == 2
    assert script.is_running(os.getpid())
