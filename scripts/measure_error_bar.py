"""Hold the error bar against the truth: `python scripts/measure_error_bar.py --output error_bar.json`.

Every prompt is run uncached and with each predictor at each pace. Before the two are compared, the report has
predicted how far the final latents differ, with a band of 90 %. Prints, for each setting, for each predictor
and for all together: the error, how often it is within the band, the rank correlation (Spearman) of predicted
and true error, and the geometric mean and the deviation of the logarithm of true over predicted. With `--raw`
these two are what `error_estimate.SCALES` holds: there the factor is taken for 1. The scales are from
`--raw --seed 5 --count 32`, the figures in docs/predictors.md from other prompts. All prompts are of objects
`tiny` was not trained on; each has a seed of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from backends.registry import get_backend
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.cache.policies.factory import PREDICTORS
from navicache_cli.cache.session.error_estimate import SCALES
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.run.runner import run, totals
from navicache_cli.terminal import stderr

Row = dict[str, Any]


class Remembering:
    """Stands in the codec's place and remembers the latents it was given last."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.latents = torch.empty(0)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.latents = latents.clone()
        video: torch.Tensor = self._codec.decode(latents)
        return video


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks; there are no ties among measured numbers."""
    ranks = [[sorted(values).index(value) for value in values] for values in (a, b)]
    return statistics.correlation(*([float(rank) for rank in row] for row in ranks))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Sum up runs."""
    logs = [math.log(row["true"] / row["predicted"]) for row in rows]
    true, predicted = [row["true"] for row in rows], [row["predicted"] for row in rows]
    found = {
        "runs": len(rows),
        "compute": statistics.fmean(row["compute"] for row in rows),
        "true": statistics.fmean(true),
        "predicted": statistics.fmean(predicted),
        "in band": statistics.fmean(row["low"] <= row["true"] <= row["high"] for row in rows),
        "rank correlation": rank_correlation(true, predicted),
        "factor": math.exp(statistics.fmean(logs)),
        "spread": statistics.stdev(logs),
    }
    return {name: round(value, 4) for name, value in found.items()}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Run everything; a row a cached generation."""
    extra = dict(item.split("=", 1) for item in arguments.set)
    pipeline: Any = get_backend("tiny").load(resolve([Layer("measure", extra)]))
    codec = pipeline.codec = Remembering(pipeline.codec)
    rows: list[Row] = []
    prompts = [describe(scene) for scene in held_out_scenes(arguments.count, arguments.seed)]
    for index, prompt in enumerate(track(prompts, "prompts", console=stderr)):
        common = {**extra, "prompt": prompt, "seed": 1000 * arguments.seed + index}
        run(pipeline, resolve([Layer("measure", {**common, "mode": "off"})]))
        uncached = codec.latents
        for predictor in arguments.predictors.split(","):
            for pace in arguments.paces.split(","):
                pace_option = dict([pace.split("=", 1)])
                done = run(
                    pipeline, resolve([Layer("measure", {**common, "predictor": predictor, **pace_option})])
                )
                sums = totals(done)
                bar = sums.predicted_error
                assert bar is not None
                scale = SCALES[predictor].factor if arguments.raw else 1.0
                rows.append(
                    {
                        "setting": f"{predictor} {pace}",
                        "predictor": predictor,
                        "prompt": index,
                        "compute": sums.compute_ratio,
                        "true": float((codec.latents - uncached).abs().mean() / uncached.abs().mean()),
                        "predicted": bar.relative / scale,
                        "low": bar.low,
                        "high": bar.high,
                    }
                )
        if arguments.output is not None:  # so that what is measured is not lost if it is stopped
            arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    return rows


def main() -> None:
    """Measure, print the table, and write all rows if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="number of prompts")
    parser.add_argument(
        "--seed", type=int, default=11, help="which held-out prompts are drawn, and their noise"
    )
    parser.add_argument("--predictors", default=",".join(PREDICTORS))
    parser.add_argument("--paces", default="mode=fast,speedup=2", help="modes, budgets, thresholds")
    parser.add_argument("--raw", action="store_true", help="as if all factors were 1, to measure them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for generate")
    parser.add_argument("--output", type=Path, help="where all rows and sums go, as JSON")
    arguments = parser.parse_args()
    rows = measure(arguments)
    groups = {name: [row for row in rows if row["setting"] == name] for name in [r["setting"] for r in rows]}
    for predictor in arguments.predictors.split(","):
        groups[f"{predictor}, all"] = [row for row in rows if row["predictor"] == predictor]
    groups["all"] = rows
    table = {name: summary(found) for name, found in groups.items()}
    print(json.dumps(table, indent=1))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"sums": table, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
