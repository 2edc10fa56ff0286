"""What the cells add up to: means with their confidence intervals, worst cases, medians of times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from navicache_cli.compare.jobs import Job
from navicache_cli.compare.settings import Setting
from navicache_cli.compare.store import Cell
from navicache_cli.media.metrics import METRICS, Metric
from navicache_cli.report.speed import Timings, beyond_bound, speedup

CONFIDENCE = 0.95
RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class Spread:
    """A measure over cells: its mean, the mean's 95 % confidence interval, and the worst cell.

    `low` and `high` are None where a single value leaves nothing to resample.
    """

    mean: float
    low: float | None
    high: float | None
    worst: float


@dataclass(frozen=True)
class CellResult:
    """One cell against its baseline.

    Attributes:
        setting: its name.
        prompt: position among the prompts, from 0.
        seed: of the noise.
        compute_ratio: work of the transformer over the baseline's.
        computed_steps: steps that ran the model.
        denoise_s: seconds of denoising.
        speedup: the baseline's seconds over these, by the clock of their reports.
        beyond_bound: whether it is above what the skipped work allows; see `speed.beyond_bound`.
        fidelity: to the baseline, by metric: the mean over frames; None for a baseline, and where it was not
            measured.
        cache_bytes: the most the cache held at once.
        key: digest of what the cell depends on.
        sitting: which call of the program ran it.
        video, report: paths, relative to the comparison's folder.
    """

    setting: str
    prompt: int
    seed: int
    compute_ratio: float
    computed_steps: int
    denoise_s: float
    speedup: float
    fidelity: dict[str, float | None]
    cache_bytes: int
    key: str
    sitting: str
    video: str
    report: str
    beyond_bound: bool = False


@dataclass(frozen=True)
class SettingResult:
    """One setting over all prompts and seeds.

    Attributes:
        name, method, runner: see `Setting`.
        values: what it sets.
        cells: how many there are.
        compute_ratio: mean.
        denoise_s, speedup: medians.
        beyond_bound: whether this speedup is above the median of what the cells' skipped work allows.
        fidelity: to the baseline, by metric; None for the baseline, and where a cell has none.
        cache_bytes: the most of any cell.
    """

    name: str
    method: str
    runner: str
    values: dict[str, Any]
    cells: int
    compute_ratio: float
    denoise_s: float
    speedup: float
    fidelity: dict[str, Spread | None]
    cache_bytes: int
    beyond_bound: bool = False


def cell_result(job: Job, cell: Cell, baseline: Cell) -> CellResult:
    """Sum up one cell; a baseline is its own."""
    totals, found = cell.report["totals"], cell.fidelity or dict.fromkeys(METRICS)
    timings, uncached = (Timings(**one.report["timings_s"]) for one in (cell, baseline))
    # Of a setting with fewer steps the ratio is to the steps of the baseline, not to its own.
    work = totals["compute_ratio"] * totals["steps"] / baseline.report["totals"]["steps"]
    measured = speedup(uncached, timings)
    return CellResult(
        setting=job.setting.name,
        prompt=job.prompt,
        seed=job.seed,
        compute_ratio=work,
        computed_steps=totals["computed_steps"],
        denoise_s=timings.denoise,
        speedup=measured,
        beyond_bound=beyond_bound(measured, _bound(work)),
        fidelity={
            key: None if one is None else statistics.fmean(one.per_frame) for key, one in found.items()
        },
        cache_bytes=totals["cache_bytes"],
        key=job.key,
        sitting=cell.sitting,
        video=f"cells/{job.key}.mp4",
        report=f"cells/{job.key}.json",
    )


def setting_result(setting: Setting, cells: Sequence[CellResult]) -> SettingResult:
    """Sum up one setting over its cells."""
    measured = statistics.median(cell.speedup for cell in cells)
    bounds = [_bound(cell.compute_ratio) for cell in cells]
    return SettingResult(
        name=setting.name,
        method=setting.method,
        runner=setting.runner,
        values={**setting.values, **setting.arguments},
        cells=len(cells),
        compute_ratio=statistics.fmean(cell.compute_ratio for cell in cells),
        denoise_s=statistics.median(cell.denoise_s for cell in cells),
        speedup=measured,
        beyond_bound=beyond_bound(measured, statistics.median(bounds)),
        fidelity={key: _spread(cells, metric) for key, metric in METRICS.items()},
        cache_bytes=max(cell.cache_bytes for cell in cells),
    )


def _bound(work: float) -> float:
    return 1 / work if work else math.inf


def _spread(cells: Sequence[CellResult], metric: Metric) -> Spread | None:
    by_prompt: dict[int, list[float]] = {}
    for cell in cells:
        value = cell.fidelity[metric.key]
        if value is None:
            return None
        by_prompt.setdefault(cell.prompt, []).append(value)
    values = [value for group in by_prompt.values() for value in group]
    low, high = confidence_interval(by_prompt)
    return Spread(statistics.fmean(values), low, high, metric.worst(values))


def confidence_interval(by_prompt: Mapping[int, Sequence[float]]) -> tuple[float | None, float | None]:
    """Bootstrap the 95 % confidence interval of the mean: percentiles of 10,000 resampled means, seeded.

    Whole prompts are drawn: seeds of one prompt are alike, and taking each for an independent
    observation would make the interval too narrow. With a single prompt the seeds are drawn.

    Args:
        by_prompt: values of each prompt, as many for each.

    Returns:
        Low and high; None twice if there is a single value.
    """
    groups = list(by_prompt.values())
    units = np.array([statistics.fmean(group) for group in groups] if len(groups) > 1 else groups[0])
    if len(units) < 2:
        return None, None
    draws = np.random.default_rng(_SEED).integers(0, len(units), (RESAMPLES, len(units)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(units[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)
