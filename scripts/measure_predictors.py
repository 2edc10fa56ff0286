"""Measure predictors on a budget: `python scripts/measure_predictors.py --count 16`.

Every prompt is run uncached, with each predictor at each speedup, and with so many fewer steps of the
sampler; prints, for each, the share of steps computed, PSNR in the mean and at worst against the uncached
video of the same prompt and seed, and the most tensors of the latents' size that the cache held.
Besides the program's predictors there are parts of the calibrated one: `trend` is without error
feedback, `feedback` holds outputs and has it. `--thresholds` adds fixed ones, to hold against a budget that
computes as many steps. The prompts are of objects `tiny` was not trained on; what was tuned was tuned on
`--seed 5`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.progress import track

from backends.registry import get_backend
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.cache.policies.factory import PREDICTORS
from navicache_cli.cache.predictors.calibrated import Calibrated
from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.run.runner import run, totals
from navicache_cli.terminal import stderr

Row = dict[str, float]


class Trend(Calibrated):
    """What is learned, without error feedback."""

    @property
    def fit(self) -> Fit:
        """As if interpolation were no good."""
        return replace(super().fit, corrects=False)


class Feedback(Calibrated):
    """Holding and error feedback."""

    @property
    def fit(self) -> Fit:
        """As if what was learned were no good."""
        return replace(super().fit, used=False)


PARTS = {"trend": Trend, "feedback": Feedback}


def settings(common: dict[str, Any], arguments: argparse.Namespace) -> Iterator[tuple[str, Plan, Any]]:
    """Yield a name, a plan and a predictor for everything to hold against the uncached video."""
    for predictor in arguments.predictors.split(","):
        known = {"predictor": "calibrated" if predictor in PARTS else predictor}
        part = PARTS.get(predictor)
        for speedup in arguments.speedups.split(","):
            plan = resolve([Layer("measure", {**common, **known, "speedup": speedup})])
            yield f"{predictor} {speedup}x", plan, part
        for threshold in [text for text in arguments.thresholds.split(",") if text]:
            # With the alignment of a budget, so that the thresholds alone differ.
            values = {**common, **known, "threshold": threshold, "align_steps": 5}
            yield f"{predictor} threshold {threshold}", resolve([Layer("measure", values)]), part
    uncached = resolve([Layer("measure", {**common, "mode": "off"})])
    for speedup in arguments.speedups.split(","):
        fewer = replace(uncached, steps=round(uncached.steps / float(speedup)))
        yield f"fewer steps {speedup}x", fewer, None


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=16, help="number of prompts; each has a seed of its own")
    parser.add_argument("--seed", type=int, default=9, help="which held-out prompts are drawn")
    parser.add_argument("--speedups", default="1.5,2,2.5")
    parser.add_argument("--predictors", default=",".join([*PREDICTORS, *PARTS]))
    parser.add_argument("--thresholds", default="", help="fixed ones, with commas between")
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
        for name, plan, predictor in settings(common, arguments):
            done = run(pipeline, plan, predictor=predictor)
            sums = totals(done)
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
