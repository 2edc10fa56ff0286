"""What the cells add up to: means with their confidence intervals, worst cases, medians of times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from navicache_cli.compare.jobs import Job
from navicache_cli.compare.settings import Setting
from navicache_cli.compare.store import Cell
from navicache_cli.media.metrics import METRICS, Metric
from navicache_cli.report.documents import Amount, Count, Part, Positive
from navicache_cli.report.speed import beyond_bound, speedup

CONFIDENCE = 0.95
RESAMPLES = 10_000
_SEED = 0


class Spread(Part, frozen=True):
    """A measure over the cells of a setting."""

    mean: float
    low: Annotated[
        float | None,
        Meta(description="lower end of the mean's 95 % confidence interval; null for a single value"),
    ]
    high: Annotated[float | None, Meta(description="upper end")]
    worst: Annotated[float, Meta(description="of all cells")]


class CellResult(Part, frozen=True):
    """One cell against its baseline: a setting, a prompt, a seed."""

    setting: Annotated[str, Meta(description="its name")]
    prompt: Annotated[Count, Meta(description="position among the prompts, from 0")]
    seed: Annotated[int, Meta(description="of the noise")]
    compute_ratio: Annotated[Amount, Meta(description="the transformer's work over the baseline's")]
    computed_steps: Annotated[Count, Meta(description="steps that ran the model")]
    denoise_s: Annotated[Amount, Meta(description="seconds of denoising")]
    speedup: Annotated[
        Amount,
        Meta(
            description="the baseline's seconds over these, by the clock of the reports (timings_s.clock)",
        ),
    ]
    fidelity: Annotated[
        dict[str, float | None],
        Meta(description="mean over frames; null for the baseline, and where it was not measured"),
    ]
    cache_bytes: Annotated[Count, Meta(description="the most the cache held at once")]
    key: Annotated[str, Meta(pattern="^[0-9a-f]{24}$", description="digest of what the cell depends on")]
    sitting: Annotated[str, Meta(description="which call of the program ran it")]
    video: Annotated[
        str,
        Meta(
            pattern=r"^cells/[0-9a-f]{24}\.mp4$",
            description="path, relative to the comparison's folder",
        ),
    ]
    report: Annotated[
        str,
        Meta(
            pattern=r"^cells/[0-9a-f]{24}\.json$",
            description="path of the report of its generation",
        ),
    ]
    beyond_bound: Annotated[
        bool, Meta(description="the speedup is above what the skipped work allows, by more than noise")
    ] = False


class SettingResult(Part, frozen=True):
    """One setting over all prompts and seeds."""

    name: Annotated[str, Meta(min_length=1)]
    method: Annotated[str, Meta(description="the line of the frontier plot it belongs to")]
    runner: Annotated[str, Meta(description="whose implementation it is")]
    values: Annotated[dict[str, Any], Meta(description="options it sets")]
    cells: Positive
    compute_ratio: Annotated[
        Amount,
        Meta(description="mean over the cells of the transformer's work over the baseline's"),
    ]
    denoise_s: Annotated[Amount, Meta(description="median seconds of denoising")]
    speedup: Annotated[Amount, Meta(description="median of the baseline's seconds over these")]
    fidelity: Annotated[
        dict[str, Spread | None],
        Meta(description="against the baseline; null for the baseline, and where a cell has none"),
    ]
    cache_bytes: Annotated[Count, Meta(description="the most the cache held at once in any cell")]
    beyond_bound: Annotated[
        bool,
        Meta(
            description="the speedup is above the median of what the cells' skipped work allows, "
            "by more than noise"
        ),
    ] = False


def cell_result(job: Job, cell: Cell, baseline: Cell) -> CellResult:
    """Sum up one cell; a baseline is its own."""
    totals, found = cell.report.totals, cell.fidelity or dict.fromkeys(METRICS)
    timings, uncached = cell.report.timings_s, baseline.report.timings_s
    # Of a setting with fewer steps the ratio is to the steps of the baseline, not to its own.
    work = totals.compute_ratio * totals.steps / baseline.report.totals.steps
    measured = speedup(uncached, timings)
    return CellResult(
        setting=job.setting.name,
        prompt=job.prompt,
        seed=job.seed,
        compute_ratio=work,
        computed_steps=totals.computed_steps,
        denoise_s=timings.denoise,
        speedup=measured,
        beyond_bound=beyond_bound(measured, _bound(work)),
        fidelity={
            key: None if one is None else statistics.fmean(one.per_frame) for key, one in found.items()
        },
        cache_bytes=totals.cache_bytes,
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
