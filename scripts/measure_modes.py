"""Measure the modes of a model against its uncached videos: `python scripts/measure_modes.py --count 20`.

Runs `off` and every mode for each prompt and seed in one process, one after the other, and prints, for each
mode, the means of skip ratio, measured denoising speedup, PSNR and SSIM, and the worst PSNR. `--threshold`
adds settings of your own.
"""

from __future__ import annotations

import argparse
import json
import statistics

from rich.progress import track

from backends.registry import get_backend
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.media.fidelity import compare_videos, means_of
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.plan.presets import load_presets
from navicache_cli.report.speed import beyond_bound, speedup
from navicache_cli.run.runner import run, totals
from navicache_cli.terminal import stderr


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--count", type=int, default=20, help="number of prompts; each has a seed of its own")
    parser.add_argument("--modes", default="", help="comma-separated; default all of the preset")
    parser.add_argument("--threshold", type=float, action="append", default=[], help="a further setting")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for generate")
    parser.add_argument("--seed", type=int, default=1, help="which held-out prompts are drawn")
    arguments = parser.parse_args()
    extra = dict(item.split("=", 1) for item in arguments.set)
    modes = [m for m in arguments.modes.split(",") if m] or list(load_presets()[arguments.model].modes)
    settings = {mode: {"mode": mode} for mode in modes}
    settings |= {f"threshold {t}": {"threshold": t} for t in arguments.threshold}
    backend = get_backend(arguments.model)
    pipeline = backend.load(resolve([Layer("measure", {"model": arguments.model, **extra})]))
    prompts = [describe(scene) for scene in held_out_scenes(arguments.count, arguments.seed)]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in settings}

    def generate(changes: dict[str, object]):
        plan = resolve([Layer("measure", {"model": arguments.model, **extra, **changes})])
        result = run(pipeline, plan)
        return to_uint8(result.video), result.timings, totals(result)

    generate({"mode": "off"})  # warm-up
    for index, prompt in enumerate(track(prompts, "prompts", console=stderr)):
        common = {"prompt": prompt, "seed": index}
        reference, uncached, _ = generate({**common, "mode": "off"})
        for name, changes in settings.items():
            frames, cached, sums = generate({**common, **changes})
            rows[name].append(
                {
                    "skip_ratio": sums.skip_ratio,
                    "speedup": speedup(uncached, cached),
                    "speedup_bound": sums.speedup_bound,
                    **means_of(compare_videos(frames, reference)),
                }
            )
    table: dict[str, dict[str, float]] = {}
    for name, found in rows.items():
        means = {key: round(statistics.fmean(row[key] for row in found), 4) for key in found[0]}
        beyond = beyond_bound(means["speedup"], means["speedup_bound"])
        table[name] = {
            **means,
            "worst_psnr": round(min(row["psnr"] for row in found), 2),
            "beyond_bound": beyond,
        }
    print(json.dumps({"model": arguments.model, "prompts": len(prompts), "settings": table}, indent=1))


if __name__ == "__main__":
    main()
