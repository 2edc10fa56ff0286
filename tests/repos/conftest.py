"""The official classes of Wan2.1, Wan2.2 and HunyuanVideo at toy size on a CPU.

Enabled by NAVICACHE_WAN_REPO=<a checkout of https://github.com/Wan-Video/Wan2.1>; needs easydict and ftfy.
Enabled by NAVICACHE_WAN22_REPO=<one of https://github.com/Wan-Video/Wan2.2>; needs the same.
Enabled by NAVICACHE_HUNYUAN_REPO=<one of https://github.com/Tencent-Hunyuan/HunyuanVideo>; needs loguru.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.hunyuan import HunyuanBackend
from backends.wan import Wan22Backend, WanBackend
from backends.wan.tasks import TASKS, WAN, WAN22
from navicache_cli.plan.plan import build_plan
from tests.repos.checkouts import checkout_of

STEPS = 18


@pytest.fixture(scope="session")
def repository():
    """The checkout of Wan2.1 to test with."""
    return checkout_of(WAN.variable, WAN.url)


@pytest.fixture(scope="session")
def wan22_repository():
    """The checkout of Wan2.2 to test with."""
    return checkout_of(WAN22.variable, WAN22.url)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / "first.png"), str(folder / "last.png")]
    slope = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    for path, colour in zip(paths, ("navy", "orange"), strict=True):
        Image.blend(slope, Image.new("RGB", slope.size, colour), 0.5).save(path)
    return {"image": paths[0], "last_image": paths[1], "reference_images": ", ".join(paths)}


@pytest.fixture(scope="session")
def source_video(tmp_path_factory):
    """A moving slope, and a mask that is white on its right half."""
    import numpy as np

    from navicache_cli.media.video import write_video

    folder = tmp_path_factory.mktemp("videos")
    slope = np.linspace(0, 200, 832)[None, :] + 10 * np.arange(5)[:, None]
    video = np.broadcast_to(slope[:, None, :, None], (5, 480, 832, 3)).astype(np.uint8)
    mask = np.zeros_like(video)
    mask[:, :, 416:] = 255
    for name, frames in (("source", video), ("mask", mask)):
        write_video(frames, folder / f"{name}.mp4", 16, {})
    return {"source_video": str(folder / "source.mp4"), "source_mask": str(folder / "mask.mp4")}


@pytest.fixture(scope="session")
def plan_of(pictures):
    """A plan of a Wan task at 96×64 pixels, which the presets do not offer, with few steps aligned."""

    def make(task="t2v-1.3B", **options):
        needs = ("reference_images",) if task.startswith("vace") else TASKS[task].pictures
        needed = {option: pictures[option] for option in needs}
        official = TASKS[task].official
        flags = {
            "model": official.name,
            "task": task,
            "weights": "random-small",
            "repo": checkout_of(official.variable, official.url),
            "align_steps": "4",
        }
        frames = {} if TASKS[task].frames else {"frames": "5"}
        plan = build_plan({**flags, "steps": str(STEPS), **frames, **needed, **options}, [], None, {})
        # The official VACE code refuses sizes of its own accord.
        return plan if task == "vace-1.3B" else replace(plan, size="96x64")

    return make


@pytest.fixture(scope="session")
def load(plan_of):
    from tests.doubles.standins import put_torchvision_in_place

    put_torchvision_in_place()
    loaded = {}

    def get(task="t2v-1.3B"):
        if task not in loaded:
            backend = {WAN: WanBackend, WAN22: Wan22Backend}[TASKS[task].official]()
            loaded[task] = backend.load(plan_of(task))
        return loaded[task]

    return get


@pytest.fixture(scope="session")
def hunyuan_repository():
    """The checkout to test with."""
    return checkout_of("NAVICACHE_HUNYUAN_REPO", "Tencent-Hunyuan/HunyuanVideo")


@pytest.fixture(scope="session")
def hunyuan_plan_of(hunyuan_repository):
    """A plan at 96×64 pixels, which the presets do not offer, with few steps aligned."""

    def make(**options):
        flags = {
            "model": "hunyuan",
            "weights": "random-small",
            "repo": hunyuan_repository,
            "frames": "5",
            "steps": "18",
            "align_steps": "4",
        }
        return replace(build_plan({**flags, **options}, [], None, {}), size="96x64")

    return make


@pytest.fixture(scope="session")
def hunyuan(hunyuan_plan_of):
    return HunyuanBackend().load(hunyuan_plan_of())
