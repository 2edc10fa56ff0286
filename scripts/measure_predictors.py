"""Measure predictors on a budget: `python scripts/measure_predictors.py --count 16`.

Every prompt is run uncached, with each predictor at each speedup, and with so many fewer steps of the
sampler; prints, for each, the share of steps computed, PSNR in the mean and at worst against the uncached
video of the same prompt and seed, and the most tensors of the latents' size that the cache held.
`--best-threshold` adds the fixed threshold, out of a grid, whose computed steps come nearest to the
budget's in the mean. The prompts are of objects `tiny` was not trained on; what was tuned was tuned on
`--seed 5`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from typing import Any

from rich.progress import track

from backends.registry import get_backend
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.cache.factory import PREDICTORS
from navicache_cli.methods import fewer_steps
from navicache_cli.metrics import psnr
from navicache_cli.plan import Layer, Plan, resolve
from navicache_cli.runner import run, totals
from navicache_cli.terminal import stderr
from navicache_cli.video import to_uint8

Row = dict[str, float]
GRID = (0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.07, 0.08, 0.09, 0.1)


def plans(common: dict[str, Any], arguments: argparse.Namespace) -> Iterator[tuple[str, Plan]]:
    """Yield a name and a plan for everything to hold against the uncached video."""
    predictors = arguments.predictors.split(",")
    for speedup in (float(text) for text in arguments.speedups.split(",")):
        for predictor in predictors:
            values = {**common, "predictor": predictor, "speedup": speedup}
            yield f"{predictor} {speedup:g}x", resolve([Layer("measure", values)])
        plan = resolve([Layer("measure", {**common, "mode": "off"})])
        yield f"fewer steps {speedup:g}x", fewer_steps(plan, 1 / speedup)
    for predictor in predictors if arguments.best_threshold else []:
        for threshold in GRID:
            # With the alignment of a budget, so that the thresholds alone differ.
            values = {**common, "predictor": predictor, "threshold": threshold, "align_steps": 5}
            yield f"{predictor} threshold {threshold:g}", resolve([Layer("measure", values)])


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=16, help="number of prompts; each has a seed of its own")
    parser.add_argument("--seed", type=int, default=9, help="which held-out prompts are drawn")
    parser.add_argument("--speedups", default="1.5,2,2.5")
    parser.add_argument("--predictors", default=",".join(PREDICTORS))
    parser.add_argument("--best-threshold", action="store_true", help="fixed thresholds too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for generate")
    arguments = parser.parse_args()
    extra = dict(item.split("=", 1) for item in arguments.set)
    pipeline = get_backend("tiny").load(resolve([Layer("measure", extra)]))
    rows: dict[str, list[Row]] = {}
    prompts = [describe(scene) for scene in held_out_scenes(arguments.count, arguments.seed)]
    for index, prompt in enumerate(track(prompts, "prompts", console=stderr)):
        common = {**extra, "prompt": prompt, "seed": index}
        baseline = resolve([Layer("measure", {**common, "mode": "off"})])
        reference = to_uint8(run(pipeline, baseline).video)
        for name, plan in plans(common, arguments):
            done = run(pipeline, plan)
            sums = totals(done.session)
            row = {
                "compute": sums.computed_steps / baseline.steps,
                "psnr": psnr(to_uint8(done.video), reference),
                "tensors": sums.cache_tensors,
            }
            rows.setdefault(name, []).append(row)
    table = {
        name: {
            "compute": round(statistics.fmean(row["compute"] for row in found), 4),
            "psnr": round(statistics.fmean(row["psnr"] for row in found), 2),
            "worst": round(min(row["psnr"] for row in found), 2),
            "tensors": round(max(row["tensors"] for row in found), 1),
        }
        for name, found in rows.items()
    }
    print(json.dumps({"prompts": len(prompts), "settings": table}, indent=1))


if __name__ == "__main__":
    main()
