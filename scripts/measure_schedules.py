"""What schedules are worth on prompts they were not made on: `python scripts/measure_schedules.py`.

Records tiny on prompts of one seed, makes schedules from one, two and four recordings, and measures them on
prompts of another: as they are, under another guidance and another solver, and at 30 steps, where schedules
are made anew. Beside each stand the online budget, which records nothing, and a schedule made there. Prints
a table; PSNR against the uncached video, mean and worst.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.cache.policies.scheduled import Scheduled
from navicache_cli.cache.recording.recording import Recording
from navicache_cli.media.fidelity import compare_videos, means_of
from navicache_cli.media.video import to_frames
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.run.runner import run
from navicache_cli.run.schedule import record, search
from navicache_cli.threads import use_at_most

RECORDED, MEASURED = 101, 9  # seeds of the prompts
COUNTS = (1, 2, 4)  # of recordings


class Measurement:
    """One set of prompts to measure on, and one to record.

    Args:
        count: how many prompts are measured on.
        speedup: the budget.
    """

    def __init__(self, count: int, speedup: float) -> None:
        self._pipeline = TinyPipeline(shipped_weights())
        self._prompts = _prompts(MEASURED, count)
        self._speedup = speedup

    def plans(self, prompts: Sequence[str], **options: Any) -> list[Plan]:
        """A plan of each prompt, with seeds counting up."""
        one = resolve([Layer("script", {**options, "mode": "off"})])
        return [replace(one, prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)]

    @cache  # noqa: B019 (one object in a program)
    def recordings(self, **options: Any) -> list[Recording]:
        """As many as the largest schedule takes."""
        plans = self.plans(_prompts(RECORDED, COUNTS[-1]), **options)
        return [record(self._pipeline, plan, False, "recording", True)[0] for plan in plans]

    @cache  # noqa: B019
    def schedule(self, count: int, **options: Any) -> tuple[bool, ...]:
        """Made from the first `count` recordings."""
        plan = self.plans([""], **options)[0]
        found = search(plan, self._pipeline.identity, self.recordings(**options)[:count], [self._speedup])
        return found.schedules[0].steps

    @cache  # noqa: B019
    def uncached(self, **options: Any) -> list[Tensor]:
        """The videos that all are held against."""
        plans = self.plans(self._prompts, **options)
        return [to_frames(run(self._pipeline, plan).video) for plan in plans]

    def scheduled(self, computed: tuple[bool, ...], **options: Any) -> str:
        """Mean and worst PSNR of a schedule."""
        plans = self.plans(self._prompts, **options)
        made = [run(self._pipeline, plan, policy=Scheduled(computed)) for plan in plans]
        return self._psnr([to_frames(one.video) for one in made], **options)

    def online(self, **options: Any) -> str:
        """Mean and worst PSNR of the budget that records nothing."""
        budget = {"method": "navicache", "speedup": self._speedup, "predictor": "calibrated"}
        one = resolve([Layer("script", {**options, **budget})])
        plans = [replace(one, prompt=prompt, seed=seed) for seed, prompt in enumerate(self._prompts)]
        return self._psnr([to_frames(run(self._pipeline, plan).video) for plan in plans], **options)

    def _psnr(self, videos: list[Tensor], **options: Any) -> str:
        pairs = zip(videos, self.uncached(**options), strict=True)
        found = [means_of(compare_videos(video, truth))["psnr"] for video, truth in pairs]
        return f"{np.mean(found):.1f} / {min(found):.1f}"


def _prompts(seed: int, count: int) -> list[str]:
    return [describe(scene) for scene in held_out_scenes(count, seed)]


def main() -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=8, help="prompts to measure on")
    parser.add_argument("--speedup", type=float, default=2.0)
    parser.add_argument("--shift", type=float, default=5.0)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--other-guidance", type=float, default=6.0)
    arguments = parser.parse_args()
    use_at_most(1)
    measure = Measurement(arguments.count, arguments.speedup)
    own = {"shift": arguments.shift, "guidance": arguments.guidance}
    print("| measured on other prompts | online budget | schedule |\n|---|---|---|", flush=True)
    for count in COUNTS:
        told = f"{count} recording{'s' if count > 1 else ''}"
        online = measure.online(**own) if count == COUNTS[0] else ""
        print(
            f"| {told} | {online} | {measure.scheduled(measure.schedule(count, **own), **own)} |", flush=True
        )
    most = COUNTS[-1]
    for changed in (
        {"guidance": arguments.other_guidance},
        {"solver": "dpm++"},
        {"steps": 30},
    ):
        there = {**own, **changed}
        ((name, value),) = changed.items()
        if name != "steps":
            moved = measure.scheduled(measure.schedule(most, **own), **there)
            print(f"| the same at {name} {value} | {measure.online(**there)} | {moved} |", flush=True)
        here = measure.scheduled(measure.schedule(most, **there), **there)
        online = measure.online(**there) if name == "steps" else ""
        print(f"| one made at {name} {value} | {online} | {here} |", flush=True)


if __name__ == "__main__":
    main()
