"""Measure caches on tiny in diffusers' own WanPipeline: `python scripts/measure_exported.py --count 3`.

Exports `tiny`, loads it with `WanPipeline.from_pretrained`, and makes every prompt uncached, with fewer
steps, with the caches of diffusers and cache-dit, and with `navicache.cached`. Prints, for each, the share
of the transformer's arithmetic that ran, and PSNR in the mean and at worst against the uncached video of the
same prompt and noise. The prompts are of objects `tiny` was not trained on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
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
from navicache_cli.compare.peers.caches import switch_on
from navicache_cli.compare.peers.meter import parts_of
from navicache_cli.compare.settings import referee_setting
from navicache_cli.compare.work import count_operations
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.plan import Layer, resolve
from navicache_cli.terminal import stderr

STEPS = 50
SIZE = {"height": 64, "width": 64, "num_frames": 17, "guidance_scale": 4.0, "output_type": "pt"}
# Other libraries' caches; what is not named is the library's own default.
PEERS: dict[str, tuple[str, dict[str, float]]] = {
    "first-block cache 0.05": ("diffusers:fbcache", {"threshold": 0.05}),
    "first-block cache 0.1": ("diffusers:fbcache", {"threshold": 0.1}),
    "MagCache 0.06, at most 2": ("diffusers:magcache", {"threshold": 0.06, "max_skips": 2}),
    "MagCache 0.12, at most 4": ("diffusers:magcache", {"threshold": 0.12, "max_skips": 4}),
    "TaylorSeer, every 2": ("diffusers:taylorseer", {"interval": 2}),
    "TaylorSeer, every 3": ("diffusers:taylorseer", {"interval": 3}),
    "cache-dit DBCache 0.05": ("cache-dit:dbcache", {"threshold": 0.05}),
    "cache-dit DBCache 0.08": ("cache-dit:dbcache", {"threshold": 0.08}),
    "cache-dit DBCache 0.08, TaylorSeer": ("cache-dit:dbcache-taylor", {"threshold": 0.08}),
}


class Meter:
    """Adds up what ran of a transformer: each attention and feed-forward by its share of a forward's work."""

    def __init__(self, transformer: Any, shares: list[float]) -> None:
        self.forwards = 0.0
        transformer.register_forward_hook(self._adder(1 - sum(shares)))
        for (_, first), share in zip(parts_of(transformer), shares, strict=True):
            first.register_forward_hook(self._adder(share))

    def _adder(self, share: float) -> Callable[..., None]:
        def add(*_: Any) -> None:
            self.forwards += share

        return add


class Bench:
    """Makes videos from an exported folder, each with a fresh pipeline: some caches leave things behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pipe = self._load()
        model = pipe.transformer
        counted = count_operations(model, lambda: pipe("a red circle", num_inference_steps=1, **SIZE))
        self._shares = [counted[part] / counted[model] for part, _ in parts_of(model)]

    def make(
        self, prompt: str, seed: int, steps: int = STEPS, peer: str = "", **ours: Any
    ) -> tuple[Tensor, float]:
        """Make a video under a cache of `PEERS`, or with the arguments of `navicache.cached`, or with none.

        Returns:
            The video [3, 17, 64, 64] in [-1, 1], and its share of the arithmetic of `STEPS` steps.
        """
        pipe = self._load()
        meter = Meter(pipe.transformer, self._shares)
        if peer:
            name, knobs = PEERS[peer]
            arguments = dict(referee_setting(peer, name, knobs).arguments)
            plan = resolve([Layer("measure", {"steps": steps, "mode": "off"})])
            twin: Any = SimpleNamespace(models=[pipe.transformer])
            switch_on(twin, arguments.pop("referee"), arguments, plan)
        noise = torch.Generator().manual_seed(seed)
        with navicache.cached(pipe, **ours) if ours else nullcontext():
            frames = pipe(prompt, num_inference_steps=steps, generator=noise, **SIZE).frames[0]
        return frames.transpose(0, 1) * 2 - 1, meter.forwards / (2 * STEPS)

    def _load(self) -> Any:
        pipe = WanPipeline.from_pretrained(self._folder)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def settings(speedups: list[float]) -> dict[str, dict[str, Any]]:
    """Arguments of `Bench.make` for everything to hold against the uncached video."""
    return {
        **{f"{round(STEPS / x)} steps": {"steps": round(STEPS / x)} for x in speedups},
        **{peer: {"peer": peer} for peer in PEERS},
        **{f"navicache, speedup={x:g}": {"speedup": x} for x in speedups},
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="number of prompts; each has a seed of its own")
    parser.add_argument("--seed", type=int, default=9, help="which held-out prompts are drawn")
    parser.add_argument("--speedups", default="1.5,2,2.5")
    arguments = parser.parse_args()
    logging.set_verbosity_error()  # not that parts are of classes the pipeline does not expect, ...
    logging.disable_progress_bar()  # ... nor each part that is loaded
    wanted = settings([float(x) for x in arguments.speedups.split(",")])
    prompts = [describe(scene) for scene in held_out_scenes(arguments.count, arguments.seed)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
    with tempfile.TemporaryDirectory() as scratch:
        export(TinyPipeline(shipped_weights(), device="cpu"), Path(scratch) / "tiny")
        bench = Bench(Path(scratch) / "tiny")
        for seed, prompt in enumerate(track(prompts, "prompts", console=stderr)):
            uncached = to_uint8(bench.make(prompt, seed)[0])
            for name, how in wanted.items():
                video, share = bench.make(prompt, seed, **how)
                found[name].append((psnr(to_uint8(video), uncached), share))
    print("| | computed | PSNR (worst) |\n|---|---|---|")
    for name, rows in found.items():
        values, shares = zip(*rows, strict=True)
        mean, share = statistics.fmean(values), statistics.fmean(shares)
        print(f"| {name} | {share:.0%} | {mean:.1f} dB ({min(values):.1f}) |")


if __name__ == "__main__":
    main()
