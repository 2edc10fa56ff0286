"""Hold `calibrated` against peers under other conditions: `python scripts/measure_conditions.py`.

For both solvers, with and without guidance, and 20, 30 and 50 steps, runs `navicache compare` with what can
be set to a budget without tuning: calibrated, navicache and easycache with `--speedup`, fewer steps, and
TaylorSeer at the intervals that come nearest. Prints one line per condition and budget: calibrated, and
the best of the others by the mean. Run again, it resumes where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

from tune_peers import BUDGETS, intervals

from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.compare.settings import BASELINE

NEAR = 0.03  # of all work: what another setting may take more and still count as equal
SEED = 13  # of the prompts; nothing was tuned on them
OURS = "calibrated"
Row = tuple[float, float, float]  # mean compute ratio, mean and worst PSNR


def settings_at(steps: int) -> dict[str, dict[str, Any]]:
    """Settings by name; names end in their budget."""
    found: dict[str, dict[str, Any]] = {}
    for budget in BUDGETS:
        end = f"{budget:g}x"
        found[f"{OURS} {end}"] = {"method": "navicache+calibrated", "speedup": budget}
        for method in ("navicache", "easycache"):
            found[f"{method} {end}"] = {"method": method, "speedup": budget}
        found[f"fewer-steps {end}"] = {"method": "fewer-steps", "steps": round(steps / budget)}
        for options in intervals("align_steps", steps, [budget]):
            found[f"taylorseer every {options['interval']} {end}"] = {"method": "taylorseer", **options}
    return found


def compared(folder: Path, prompts: int, steps: int, options: list[str]) -> dict[str, Row]:
    """Run one comparison; by setting its mean compute ratio, mean and worst PSNR."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text(json.dumps(settings_at(steps), indent=1), "utf-8")
    lines = [describe(scene) for scene in held_out_scenes(prompts, SEED)]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n", "utf-8")
    where = ["--settings", str(folder / "settings.yaml"), "--prompts", str(folder / "prompts.txt")]
    command = [sys.executable, "-m", "navicache_cli", "compare", *where, "--steps", str(steps), *options]
    subprocess.run([*command, "--output-dir", str(folder / "table")], check=True, stdout=subprocess.DEVNULL)
    document = json.loads((folder / "table" / "compare.json").read_text("utf-8"))
    return {
        one["name"]: (one["compute_ratio"], one["psnr"]["mean"], one["psnr"]["worst"])
        for one in document["settings"]
        if one["name"] != BASELINE.name
    }


def main() -> None:
    """Run, and print as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=8, help="prompts")
    parser.add_argument("--output-dir", type=Path, default=Path("conditions"))
    arguments = parser.parse_args()
    print("solver, guidance, steps  budget   calibrated (worst)   best of the others (worst)")
    for solver, guidance, steps in product(("unipc", "dpm++"), ("1", "5"), (20, 30, 50)):
        folder = arguments.output_dir / f"{solver} {guidance} {steps}"
        options = ["--solver", solver, "--guidance", guidance]
        table = compared(folder, arguments.count, steps, options)
        for budget in BUDGETS:
            end = f" {budget:g}x"
            ratio, mean, worst = table[OURS + end]
            others = {
                name: row
                for name, row in table.items()
                if name.endswith(end) and not name.startswith(OURS) and row[0] <= ratio + NEAR
            }
            name, (_, best, low) = max(others.items(), key=lambda one: one[1][1])
            condition = f"{solver}, {guidance}, {steps}"
            theirs = f"{name.removesuffix(end)} {best:.1f} ({low:.1f})"
            ours = f"{mean:.1f} ({worst:.1f})"
            print(f"{condition:24} {end:>6}   {ours}   {theirs}   {mean - best:+.1f}", flush=True)


if __name__ == "__main__":
    main()
