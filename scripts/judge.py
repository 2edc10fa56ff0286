"""Where caches stand under each condition of `backends.tiny.conditions`: `python -m scripts.judge`.

Under every condition, with prompts that nothing was tuned on, it compares what the published methods, plain
fewer steps and our own lines do at the same work, 2× unless `--speedups` says otherwise, and prints a
Markdown table: PSNR, mean (worst). TeaCache and SeaCache get the threshold that takes that work on tuning
prompts, our schedules are searched on recordings of others, everything else is set by a budget or a count.
Run again, it resumes where it stopped. Peers that are
complete are taken as they are, whatever code made them; remove their folder to make them anew. `--only peers`
or `--only ours` runs and shows a half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.tiny.conditions import CONDITIONS, Condition
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.files import write_atomically
from scripts.comparisons import NEAR, Row, joined, peers_of
from scripts.tune_peers import SEARCHES, Bench, intervals, tune
from scripts.tune_peers import SEED as TUNING_SEED

SEED = 13  # of the prompts; nothing was tuned on them
RECORDINGS, RECORDED_SEED = 4, 101  # what schedules are searched on
TUNED = ("teacache", "diffusers:seacache")
TUNING_PROMPTS = 1
TAYLORSEER = ("taylorseer", "taylorseer, longer start")
BUDGETED = {"navicache": "navicache", "easycache": "easycache", "hold": "navicache+hold"}
PAB = "pab, published setting"
PUBLISHED_PAB = {"method": "pab", "broadcast": "self=2 cross=6", "window": "100 800"}
GROUPS = ("peers", "ours")
Settings = dict[str, dict[str, Any]]


def ours_at(condition: Condition, speedups: Sequence[float], folder: Path) -> Settings:
    """Our own lines; schedules for them are searched, and kept in `folder`, if they are not there."""
    schedule = folder / f"schedule {' '.join(f'{one:g}' for one in speedups)}.yaml"
    if not schedule.is_file():
        recorded = folder / "recorded.txt"
        scenes = held_out_scenes(RECORDINGS, RECORDED_SEED)
        write_atomically(recorded, "\n".join(map(describe, scenes)) + "\n")
        budgets = f"--speedup={','.join(f'{one:g}' for one in speedups)}"
        navicache("schedule", f"--prompts={recorded}", budgets, *flags(condition), f"--output={schedule}")
    found: Settings = {}
    for one in speedups:
        found[f"calibrated {end(one)}"] = {"method": "navicache+calibrated", "speedup": one}
        scheduled = {"method": "navicache", "schedule": str(schedule.resolve()), "speedup": one}
        found[f"scheduled {end(one)}"] = scheduled
    return found


def flags(condition: Condition) -> list[str]:
    """What to type for a condition."""
    return [f"--{name}={value}" for name, value in condition.options.items()]


def navicache(*arguments: str) -> None:
    """Run the program, quietly.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "navicache_cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def untuned_peers(condition: Condition, speedups: Sequence[float]) -> Settings:
    """What a budget or a count sets; TaylorSeer as published, and with a longer start and interval."""
    found: Settings = {}
    for speedup in speedups:
        for name, method in BUDGETED.items():
            found[f"{name} {end(speedup)}"] = {"method": method, "speedup": speedup}
        steps = round(condition.steps / speedup)
        found[f"fewer-steps {end(speedup)}"] = {"method": "fewer-steps", "steps": steps}
        spaced = intervals("align_steps", condition.steps, [speedup])
        for name, options in zip(TAYLORSEER, spaced, strict=False):
            found[f"{name} {end(speedup)}"] = {"method": "taylorseer", **options}
    found[PAB] = PUBLISHED_PAB
    return found


def tuned_peers(condition: Condition, speedups: Sequence[float]) -> Settings:
    """Thresholds that take the wanted work on a few tuning prompts."""
    bench = Bench([describe(scene) for scene in held_out_scenes(TUNING_PROMPTS, TUNING_SEED)], condition)
    return {
        f"{one.search.name} {end(one.speedup)}": {"method": one.search.method, **one.options}
        for search in SEARCHES
        if search.name in TUNED
        for one in tune(bench, search, speedups)
    }


def end(speedup: float) -> str:
    """The end of a setting's name."""
    return f"{speedup:g}x"


def settings_of(group: str, condition: Condition, speedups: Sequence[float], path: Path) -> Settings:
    """Settings of a group; those that were tuned before are read from `path`."""
    if group == "ours":
        return ours_at(condition, speedups, path.parent)
    known: Settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    missing = [one for one in speedups if any(f"{name} {end(one)}" not in known for name in TUNED)]
    return {
        **known,
        **untuned_peers(condition, speedups),
        **(tuned_peers(condition, missing) if missing else {}),
    }


def compare(folder: Path, group: str, condition: Condition, speedups: Sequence[float], count: int) -> Path:
    """Compare one group under one condition; returns where the comparison is."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "table"
    settings = settings_of(group, condition, speedups, folder / "settings.yaml")
    prompts = [describe(scene) for scene in held_out_scenes(count, SEED)]
    if group == "peers" and is_complete(table, set(settings), prompts):
        return table
    write_atomically(folder / "settings.yaml", json.dumps(settings, indent=1) + "\n")
    write_atomically(folder / "prompts.txt", "\n".join(prompts) + "\n")
    files = [f"--settings={folder / 'settings.yaml'}", f"--prompts={folder / 'prompts.txt'}"]
    navicache("compare", *files, *flags(condition), f"--output-dir={table}")
    return table


def is_complete(table: Path, names: set[str], prompts: list[str]) -> bool:
    """Whether a comparison of these settings and prompts is there."""
    path = table / "compare.json"
    if not path.is_file():
        return False
    document = json.loads(path.read_text("utf-8"))
    return names <= {one["name"] for one in document["settings"]} and document["prompts"] == prompts


def cell(row: Row | None, speedup: float) -> str:
    """Mean and worst, and the work where it is not what was wanted."""
    if row is None:
        return "—"
    return f"{row}; {row.work:.0%}" if abs(row.work - 1 / speedup) > NEAR else str(row)


def shown(condition: Condition, rows: Sequence[Row], speedup: float, lines: Sequence[str]) -> str:
    """A line of the table: what each reached, and how far ours is above others of about its work."""
    at = {row.line: row for row in rows if row.budget in (speedup, 0)}
    cells = [cell(at.get(line), speedup) for line in lines]
    for ours in (row for row in at.values() if row.ours):
        peers = peers_of(ours, rows)
        if peers:
            lowest = ours.worst - max(row.worst for row in peers)
            cells.append(f"{ours} {ours.mean - peers[0].mean:+.1f} ({lowest:+.1f})")
        else:
            cells.append(str(ours))
    return f"| {condition.name}, {speedup:g}× | {' | '.join(cells)} |"


def main() -> None:
    """Compare, and print as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME"
    )
    parser.add_argument("--speedups", nargs="+", type=float, default=[2.0], metavar="X")
    parser.add_argument("--count", type=int, default=8, help="prompts")
    parser.add_argument("--only", choices=GROUPS, help="run and show a half")
    parser.add_argument("--output-dir", type=Path, default=Path("conditions"))
    arguments = parser.parse_args()
    groups = [arguments.only] if arguments.only else GROUPS
    headed = False
    for name in arguments.conditions:
        condition = CONDITIONS[name]
        tables = [
            compare(
                arguments.output_dir / name / group, group, condition, arguments.speedups, arguments.count
            )
            for group in groups
        ]
        rows = joined(tables)
        others = list(dict.fromkeys(row.line for row in rows if not row.ours))
        ours = list(dict.fromkeys(row.line for row in rows if row.ours))
        if not headed:
            heads = [*others, *(f"{line}, above the best other" for line in ours)]
            print(f"| shift-guidance | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
            headed = True
        for speedup in arguments.speedups:
            print(shown(condition, rows, speedup, others), flush=True)


if __name__ == "__main__":
    main()
