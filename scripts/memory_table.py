"""The table of docs/memory.md: `python -m scripts.memory_table --write docs/memory.md`.

For each task of a model with figures, at its size and frames: GiB at the fullest moment without a cache,
and the most GiB that each method keeps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from navicache_cli.errors import UsageError
from navicache_cli.plan.memory import estimate, known_models, memory_file, plan_without_pictures

MARKS = ("<!-- memory -->", "<!-- end of memory -->")
# What the columns are called, and the options they stand for.
COLUMNS = {
    "navicache, easycache": {"predictor": "residual"},
    "… calibrated": {"predictor": "calibrated"},
    "teacache": {"method": "teacache"},
    "magcache": {"method": "magcache"},
    "fbcache": {"method": "fbcache"},
    "taylorseer": {"method": "taylorseer"},
    "pab": {"method": "pab"},
}


def table() -> str:
    """The table in Markdown."""
    head = ["task", "size", "frames", "off", "fullest while", *COLUMNS]
    lines = [" | ".join(head), "|".join("---" for _ in head)]
    for model in known_models():
        for task in json.loads(memory_file(model).read_text("utf-8"))["tasks"]:
            plan = plan_without_pictures({"model": model, "task": task, "mode": "off"}, [], None, {})
            off = estimate(plan)
            assert off is not None
            cells = [f"{model} {task}", plan.size, str(plan.frames), f"{off.peak:.1f}", off.fullest]
            lines.append(" | ".join([*cells, *(_kept(model, task, options) for options in COLUMNS.values())]))
    return "\n".join(f"| {line} |" for line in lines)


def _kept(model: str, task: str, options: dict[str, str]) -> str:
    try:
        plan = plan_without_pictures({"model": model, "task": task, **options}, [], None, {})
    except UsageError:  # Of a method that the task lacks, or lacks ratios for.
        return "–"
    found = estimate(plan)
    assert found is not None
    return f"{found.cache:.2f}"


def main() -> None:
    """Print the table, or put it between a page's marks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with the marks of this table")
    page = parser.parse_args().write
    if page is None:
        print(table())
        return
    before, rest = page.read_text("utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{after}", "utf-8")


if __name__ == "__main__":
    main()
