"""Sizes by name with an aspect ratio, in pixels, and numbers of frames by name."""

from __future__ import annotations

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import load_presets


def plan_of(**flags):
    return build_plan({"model": "opensora", **flags}, [], None, {})


@pytest.mark.parametrize(
    ("flags", "size", "ratio"),
    [
        ({}, "854x480", "9:16"),
        ({"size": "720p"}, "1280x720", "9:16"),
        ({"size": " 720P ", "aspect_ratio": "16:9"}, "720x1280", "16:9"),
        ({"aspect_ratio": "1:1"}, "640x640", "1:1"),
        ({"size": "256*144"}, "256x144", "9:16"),
        ({"size": "144x256"}, "144x256", "16:9"),
        ({"size": "144x256", "aspect_ratio": "16:9"}, "144x256", "16:9"),
    ],
)
def test_sizes(flags, size, ratio):
    plan = plan_of(**flags)
    assert (plan.size, plan.aspect_ratio) == (size, ratio)
    assert (plan.width, plan.height) == tuple(map(int, size.split("x")))
    assert plan.provenance["size"] == ("--size" if "size" in flags else "preset opensora")
    expected = "--aspect-ratio" if "aspect_ratio" in flags else plan.provenance["size"]
    assert plan.provenance["aspect_ratio"] == expected


@pytest.mark.parametrize(
    ("frames", "number"), [("4s", 102), ("image", 1), ("16X", 816), ("60", 60), (60, 60)]
)
def test_frames(frames, number):
    assert plan_of(frames=frames).frames == number


def test_layers_may_each_give_a_part(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("model: opensora\nsize: 240p\nframes: 2s\n")
    plan = build_plan({"aspect_ratio": "16:9"}, [], config, {"NAVICACHE_SIZE": "360p"})
    assert (plan.size, plan.frames) == ("360x640", 51)


@pytest.mark.parametrize(
    ("flags", "told", "hint"),
    [
        ({"aspect_ratio": "16:10"}, "expected one of: 9:16", "--aspect-ratio 9:16"),
        ({"size": "854x480", "aspect_ratio": "1:1"}, "expects 9:16, which is that of size 854x480", "480p"),
        ({"size": "855x480"}, "one of 144p, 240p, 360p, 480p, 720p, or the pixels of one", "--size"),
        ({"size": "1440p"}, "WIDTHxHEIGHT, such as 832x480, or one of 144p", "--size"),
        ({"frames": "5s"}, "a whole number, or one of image, 2s", "--frames"),
        ({"model": "wan", "size": "480p"}, "WIDTHxHEIGHT, such as 832x480, found", "--size"),
        ({"model": "wan", "frames": "4s"}, "a whole number, found", "--frames"),
        ({"model": "tiny", "aspect_ratio": "9:16"}, "tiny takes no aspect-ratio", "drop"),
    ],
)
def test_refusals(flags, told, hint):
    with pytest.raises(UsageError) as caught:
        plan_of(**flags)
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_every_name_has_a_size_at_every_ratio():
    preset = load_presets()["opensora"]
    assert list(preset.named_sizes) == preset.tasks["t2v"]["sizes"]
    for sizes in preset.named_sizes.values():
        assert len(sizes) == len(set(sizes)) == len(preset.aspect_ratios)
        for size, ratio in zip(sizes, preset.aspect_ratios, strict=True):
            width, height = map(int, size.split("x"))
            # The official tables file 50:27 under 2.08, and so must we.
            above, below = (208, 100) if ratio == "50:27" else map(int, ratio.split(":"))
            assert height / width == pytest.approx(above / below, rel=0.03)
