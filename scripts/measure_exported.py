"""Measure caches on tiny in diffusers' own WanPipeline: `python scripts/measure_exported.py --count 3`.

Exports `tiny`, loads it with `WanPipeline.from_pretrained`, and makes every prompt uncached, with fewer
steps, with each cache of diffusers and cache-dit, and with `navicache.cached`. Prints, for each, the share
of the transformer's arithmetic that ran, and PSNR in the mean and at worst against the uncached video of the
same prompt and noise: first at the libraries' own defaults, then at the settings of scripts/full_table that
`tune_peers.py` found for each budget. The prompts are of objects `tiny` was not trained on, and others than
those of the tuning.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from diffusers.utils import logging
from rich.progress import track
from torch import Tensor

import backends.tiny.exported  # noqa: F401  where diffusers finds the classes
import navicache
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.export import export
from backends.tiny.world import describe
from navicache_cli.compare.peers.caches import switched_on
from navicache_cli.compare.peers.meter import PeerMeter, count_shares
from navicache_cli.compare.peers.peers import PEERS
from navicache_cli.compare.settings import FEWER_STEPS, Setting, peer_setting
from navicache_cli.compare.settings_file import read_settings
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.plan import Layer, Plan, resolve
from navicache_cli.terminal import stderr

STEPS = 50
SETTINGS = [Path(__file__).parent / "full_table" / name for name in ("preset.yaml", "ours.yaml")]
OURS = "navicache+calibrated"  # what navicache.cached does by itself


@dataclass(frozen=True)
class Judged:
    """What came of a setting on all prompts."""

    mean: float
    worst: float
    share: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} dB ({self.worst:.1f}); {self.share:.0%}"


def make_video(pipe: Any, plan: Plan) -> Tensor:
    """The video [3, F, H, W] in [-1, 1] that a WanPipeline makes of a plan."""
    made = pipe(
        plan.prompt,
        height=plan.height,
        width=plan.width,
        num_frames=plan.frames,
        num_inference_steps=plan.steps,
        guidance_scale=plan.guidance,
        generator=torch.Generator().manual_seed(plan.seed),
        output_type="pt",
    )
    video: Tensor = made.frames[0].transpose(0, 1) * 2 - 1
    return video


class Bench:
    """Makes videos from an exported folder, each with a fresh pipeline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pipe, plan = self._load(), resolve([Layer("measure", {"mode": "off", "steps": 1})])
        self._shares = count_shares(pipe.transformer, lambda: make_video(pipe, plan))

    def uncached(self, plan: Plan) -> Tensor:
        """The video [3, F, H, W] in [-1, 1]."""
        return make_video(self._load(), plan)

    def make(self, plan: Plan, setting: Setting) -> tuple[Tensor, float]:
        """Make a video as a setting has it.

        Returns:
            The video [3, F, H, W] in [-1, 1], and its share of the arithmetic of `plan`, uncached.
        """
        pipe = self._load()
        told = replace(plan, steps=setting.values.get("steps", plan.steps))
        meter = PeerMeter([pipe.transformer], self._shares, told)
        with self._switched_on(pipe, told, setting):
            video = make_video(pipe, told)
        return video, meter.compute_ratio() * told.steps / plan.steps

    def _switched_on(self, pipe: Any, plan: Plan, setting: Setting) -> AbstractContextManager[Any]:
        if setting.method == OURS:
            return navicache.cached(pipe, speedup=setting.values["speedup"])
        if setting.method == FEWER_STEPS:
            return nullcontext()
        arguments = dict(setting.arguments)
        return switched_on([pipe.transformer], arguments.pop("peer"), arguments, plan)

    def _load(self) -> Any:
        pipe = WanPipeline.from_pretrained(self._folder)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def by_default() -> list[Setting]:
    """Every peer with its library's own settings."""
    return [peer_setting(name, name, {}) for name, peer in PEERS.items() if peer.knobs]


def at_budgets() -> list[Setting]:
    """What was tuned of peers, and what needs no tuning: fewer steps, and this project's own default."""
    return [
        setting
        for path in SETTINGS
        for setting in read_settings(path, STEPS)
        if setting.method in (FEWER_STEPS, OURS) or (setting.method in PEERS and PEERS[setting.method].knobs)
    ]


def judge(bench: Bench, plans: list[Plan], settings: list[Setting]) -> dict[str, Judged]:
    """Hold every setting against the uncached videos."""
    found: dict[str, list[tuple[float, float]]] = {setting.name: [] for setting in settings}
    for plan in track(plans, "prompts", console=stderr):
        uncached = to_uint8(bench.uncached(plan))
        for setting in settings:
            video, share = bench.make(plan, setting)
            found[setting.name].append((psnr(to_uint8(video), uncached), share))
    judged = {}
    for name, rows in found.items():
        values, shares = zip(*rows, strict=True)
        judged[name] = Judged(statistics.fmean(values), min(values), statistics.fmean(shares))
    return judged


def print_defaults(settings: list[Setting], judged: dict[str, Judged]) -> None:
    """One row for each peer."""
    print("| defaults | | computed | PSNR (worst) |\n|---|---|---|---|")
    for setting in settings:
        knobs = ", ".join(f"{knob} {value:g}" for knob, value in setting.arguments.items() if knob != "peer")
        one = judged[setting.name]
        print(f"| `{setting.name}` | {knobs} | {one.share:.0%} | {one.mean:.1f} dB ({one.worst:.1f}) |")


def print_budgets(settings: list[Setting], judged: dict[str, Judged]) -> None:
    """One row for each method, the best at the first budget first, with a column for each budget."""
    rows: dict[str, dict[str, Judged]] = {}
    for setting in settings:
        method, _, budget = setting.name.rpartition(" ")
        rows.setdefault(method, {})[budget] = judged[setting.name]
    budgets = sorted({budget for row in rows.values() for budget in row}, key=lambda one: float(one[:-1]))
    print(f"| PSNR (worst); computed | {' | '.join(budgets)} |\n|---|{'---|' * len(budgets)}")
    for method, row in sorted(rows.items(), key=lambda one: -one[1][budgets[0]].mean):
        print(f"| `{method}` | {' | '.join(str(row[budget]) for budget in budgets)} |")


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="number of prompts; each has a seed of its own")
    parser.add_argument("--seed", type=int, default=9, help="which held-out prompts are drawn")
    arguments = parser.parse_args()
    logging.set_verbosity_error()  # not that parts are of classes the pipeline does not expect, ...
    logging.disable_progress_bar()  # ... nor each part that is loaded
    plans = [
        resolve([Layer("measure", {"mode": "off", "steps": STEPS, "prompt": describe(scene), "seed": seed})])
        for seed, scene in enumerate(held_out_scenes(arguments.count, arguments.seed))
    ]
    defaults, budgets = by_default(), at_budgets()
    with tempfile.TemporaryDirectory() as scratch:
        export(TinyPipeline(shipped_weights(), device="cpu"), Path(scratch) / "tiny")
        judged = judge(Bench(Path(scratch) / "tiny"), plans, [*defaults, *budgets])
    print_defaults(defaults, judged)
    print()
    print_budgets(budgets, judged)


if __name__ == "__main__":
    main()
