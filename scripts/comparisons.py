"""Joins comparisons of the same videos into one Markdown table: `python -m scripts.comparisons DIR DIR…`.

Each DIR is what `navicache compare` wrote, for the same prompts, seeds and plan, with settings named
"LINE 2x". Peers and our own settings are compared in folders of their own, since a change of the cache's code
makes all cells of a folder anew. Prints every line at every budget, and each of our lines against the best of
the others.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from navicache_cli.compare.document import Comparison
from navicache_cli.compare.settings import BASELINE
from navicache_cli.errors import UsageError
from navicache_cli.report.documents import read_document

RESAMPLES = 10_000
NEAR = 0.03  # of all work: what another setting may take more and still count as equal
OURS = ("calibrated", "schedule")  # how our lines begin


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        line: its name without the budget.
        budget: its name's end; 0 if it names none.
        work: mean share of the baseline's.
        psnr: of each prompt, and of that of each seed; prompts and seeds are the same in all rows.
    """

    line: str
    budget: float
    work: float
    psnr: tuple[tuple[float, ...], ...]

    @property
    def ours(self) -> bool:
        """Whether it is this project's own."""
        return self.line.startswith(OURS)

    @property
    def videos(self) -> list[float]:
        """PSNR of every video."""
        return [value for seeds in self.psnr for value in seeds]

    @property
    def mean(self) -> float:
        return fmean(self.videos)

    @property
    def worst(self) -> float:
        return min(self.videos)

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.worst:.1f})"


def joined(folders: Iterable[Path]) -> list[Row]:
    """Read the rows of all folders.

    Raises:
        OutputError: a folder holds no comparison.
        UsageError: it holds one of other videos than the first.
    """
    rows: list[Row] = []
    first: tuple[object, ...] = ()
    for folder in folders:
        found = read_document(folder / "compare.json", Comparison)
        plan = {name: entry.value for name, entry in found.plan.items() if name != "output_dir"}
        videos = (found.prompts, found.seeds, plan)
        if first and videos != first:
            raise UsageError(
                f"expected comparisons of the same prompts, seeds and plan, found others in {folder}",
                "compare both with the same options",
            )
        first = videos
        rows += rows_of(found)
    return rows


def rows_of(found: Comparison) -> list[Row]:
    """The rows of one comparison."""
    rows = []
    for setting in found.settings:
        if setting.name == BASELINE.name:
            continue
        psnr: dict[int, dict[int, float]] = {}
        for cell in found.cells:
            value = cell.fidelity["psnr"]
            if cell.setting == setting.name and value is not None:
                psnr.setdefault(cell.prompt, {})[cell.seed] = value
        by_prompt = tuple(
            tuple(psnr[prompt][seed] for seed in found.seeds) for prompt in range(len(found.prompts))
        )
        line, budget = name_and_budget(setting.name)
        rows.append(Row(line, budget, setting.compute_ratio, by_prompt))
    return rows


def name_and_budget(name: str) -> tuple[str, float]:
    """Split "teacache 1.5x"; a name that ends in no budget has 0."""
    found = re.fullmatch(r"(.+) ([0-9.]+)x", name)
    return (found[1], float(found[2])) if found else (name, 0.0)


def interval(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % confidence interval of a mean: a bootstrap that draws whole prompts, with all their seeds."""
    means = np.array([fmean(seeds) for seeds in values])
    drawn = np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))
    low, high = np.percentile(means[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def difference(ours: Row, theirs: Row) -> tuple[tuple[float, ...], ...]:
    """How far ours is above, video by video."""
    return tuple(
        tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(ours.psnr, theirs.psnr, strict=True)
    )


def peers_of(ours: Row, rows: Iterable[Row]) -> list[Row]:
    """What others reach at that budget with about as much work; best in the mean first."""
    others = [
        row for row in rows if row.budget == ours.budget and not row.ours and row.work <= ours.work + NEAR
    ]
    return sorted(others, key=lambda row: -row.mean)


def table(rows: Sequence[Row]) -> str:
    """Lines by their mean over all budgets they have, best first; a column for each budget."""
    budgets = sorted({row.budget for row in rows if row.budget})
    cells: dict[str, dict[float, Row]] = {}
    for row in rows:
        if row.budget:
            cells.setdefault(row.line, {})[row.budget] = row
    heads = " | ".join(f"{budget:g}×" for budget in budgets)
    text = [f"| PSNR, mean ± CI (worst); work | {heads} |", "|---" * (len(budgets) + 1) + "|"]
    order = sorted(cells, key=lambda line: -fmean(row.mean for row in cells[line].values()))
    for line in order:
        shown = []
        for budget in budgets:
            row = cells[line].get(budget)
            if row is None:
                shown.append("—")
                continue
            low, high = interval(row.psnr)
            shown.append(f"{row.mean:.1f} ± {(high - low) / 2:.1f} ({row.worst:.1f}); {row.work:.0%}")
        text.append(f"| {line} | {' | '.join(shown)} |")
    return "\n".join(text)


def against(rows: Sequence[Row]) -> list[str]:
    """Each of our rows against the best of the others at its budget, and against all of them at once."""
    text = []
    for ours in sorted((row for row in rows if row.ours), key=lambda row: (row.line, row.budget)):
        peers = peers_of(ours, rows)
        if not peers:
            continue
        best = peers[0]
        above = difference(ours, best)
        low, high = interval(above)
        highest = max(peers, key=lambda row: row.worst)
        wins = sum(
            all(value > other for other in others)
            for value, *others in zip(ours.videos, *(row.videos for row in peers), strict=True)
        )
        lead = f"{ours.mean - best.mean:+.1f} dB ({low:+.1f} to {high:+.1f})"
        text.append(
            f"{ours.line} {ours.budget:g}×: {ours}; best other in the mean: {best.line} {best}, {lead}; "
            f"above all others at once in {wins} of {len(ours.videos)} videos; "
            f"highest worst of another: {highest.line} {highest.worst:.1f}"
        )
    return text


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    rows = joined(parser.parse_args().folders)
    print(table(rows))
    print()
    print("\n".join(against(rows)))


if __name__ == "__main__":
    main()
