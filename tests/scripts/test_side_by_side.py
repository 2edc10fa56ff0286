"""The picture of videos side by side: their frames, strips and figures."""

from __future__ import annotations

import sys

import pytest
from PIL import Image, ImageColor

from navicache_cli.errors import UsageError
from navicache_cli.plots.theme import LIGHT
from scripts import side_by_side
from tests.program import invoke

STRIP = side_by_side.TITLE + side_by_side.SIDE + side_by_side.GAP // 2 + side_by_side.STRIP // 2


def draw(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["side_by_side", *map(str, arguments)])
    side_by_side.main()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    invoke("generate", "--steps", "8", "--mode", "off", "-o", folder / "off.mp4")
    invoke("generate", "--steps", "8", "--speedup", "2", "-o", folder / "cached.mp4")
    return folder


def test_strips_show_the_steps_that_were_computed(videos, tmp_path, monkeypatch):
    draw(monkeypatch, videos / "off.mp4", videos / "cached.mp4", "-o", tmp_path / "picture.webp")
    with Image.open(tmp_path / "picture.webp") as picture:
        assert picture.n_frames == 17
        first = picture.convert("RGB")
    cell = side_by_side.SIDE / 8
    ink, empty = (ImageColor.getrgb(colour) for colour in (LIGHT.computed, LIGHT.grid))

    def filled(left: int) -> int:
        middles = [first.getpixel((round(left + (i + 0.5) * cell), STRIP)) for i in range(8)]
        near = [sum(abs(a - b) for a, b in zip(middle, ink, strict=True)) < 60 for middle in middles]
        far = [sum(abs(a - b) for a, b in zip(middle, empty, strict=True)) < 60 for middle in middles]
        assert all(a != b for a, b in zip(near, far, strict=True)), middles
        return sum(near)

    gap = side_by_side.GAP
    assert (filled(gap), filled(2 * gap + side_by_side.SIDE)) == (8, 4)


def test_videos_of_another_length_are_refused(videos, tmp_path, monkeypatch):
    invoke("generate", "--steps", "2", "--mode", "off", "--frames", "5", "-o", tmp_path / "short.mp4")
    with pytest.raises(UsageError, match="need one size, length and rate"):
        draw(monkeypatch, videos / "off.mp4", tmp_path / "short.mp4", "-o", tmp_path / "picture.webp")
    assert not (tmp_path / "picture.webp").exists()
