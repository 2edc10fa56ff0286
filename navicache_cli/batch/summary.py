"""What a batch adds up to: skip ratios, times, speedups and fidelity of its finished videos.

`batch-report.json` holds a `Summary`. Speedup and fidelity are there for videos made with `--baseline`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, field

from navicache_cli import __version__
from navicache_cli.batch.finished import Options, read_finished
from navicache_cli.batch.folder import REPORTS, report_name
from navicache_cli.batch.manifest import DONE, FAILED, Done, Failed, Record, read_manifests
from navicache_cli.errors import OutputError
from navicache_cli.media.metrics import FROM_FRAMES, LEADING
from navicache_cli.plan.presets import OFF
from navicache_cli.report.documents import Amount, Count, Document, Part, Positive, Share, one_of
from navicache_cli.report.report import Report, read_report
from navicache_cli.report.speed import CPU, WALL, speed_notes

SUMMARY_VERSION = 1  # goes up when a key changes its name or meaning
MOST_LISTED = 8  # of the slowest, of the worst …


class Video(Part, frozen=True, kw_only=True):
    """One finished video; without `--baseline` its speedup and figures are null."""

    name: Annotated[str, Meta(description="below the folder of videos")]
    setting: Annotated[str, Meta(description="name of its setting")]
    prompt: str
    seed: int
    steps: Positive
    skipped: Annotated[Count, Meta(description="of the steps")]
    skip_ratio: Annotated[Share, Meta(description="skipped / steps")]
    denoise_s: Annotated[Amount, Meta(description="seconds of denoising")]
    total_s: Annotated[Amount, Meta(description="seconds of everything but loading the model")]
    speedup: Annotated[float | None, Meta(description="seconds of denoising uncached over these, by `clock`")]
    fidelity: Annotated[dict[str, float | None], Meta(description="against the uncached video")]
    beyond_bound: Annotated[
        bool, Meta(description="the speedup is above what the skipped steps allow, by more than noise")
    ] = False
    clock: Annotated[str, one_of(WALL, CPU), Meta(description="what the speedup is taken from")] = WALL
    video: Annotated[str, Meta(description="path in the batch's folder")]
    report: Annotated[str, Meta(description="path in the batch's folder")]


class Distribution(Part, frozen=True):
    """Of one measure over videos."""

    videos: Annotated[Positive, Meta(description="how many have the measure")]
    mean: float
    least: float
    low: Annotated[float, Meta(description="the 10 % quantile")]
    median: float
    high: Annotated[float, Meta(description="the 90 % quantile")]
    most: float


class SettingSummary(Part, frozen=True, kw_only=True):
    """The videos of one setting; a measure that none of them has is null."""

    name: Annotated[str, Meta(description="method and mode, and what else sets it apart")]
    videos: Annotated[Count, Meta(description="how many are finished")]
    skip_ratio: Distribution | None
    denoise_s: Distribution | None
    speedup: Distribution | None
    fidelity: dict[str, Distribution | None]
    beyond_bound: Annotated[
        Count, Meta(description="videos whose speedup is above what their skipped steps allow")
    ] = 0
    skip_frequency: Annotated[
        list[Share], Meta(description="at each step, the part of the videos that skipped it")
    ]


class Failure(Part, frozen=True):
    """A video whose last attempt failed."""

    name: str
    error: str


class Summary(Document, frozen=True, kw_only=True):
    """What a batch adds up to: skip ratios, times, speedups and fidelity of its finished videos."""

    NAME: ClassVar[str] = "batch report"
    HINT: ClassVar[str] = "run `navicache batch-report` again"

    # First, so that the file is known as ours when it is to be replaced.
    navicache_version: Annotated[str, Meta(description="of the program that summed up")] = field(
        default_factory=lambda: __version__
    )
    models: Annotated[list[str], Meta(description="names of the models, as reports have them")]
    states: Annotated[dict[str, Count], Meta(description="how many videos are in each state of the manifest")]
    settings: Annotated[list[SettingSummary], Meta(min_length=1, description="in the order of their names")]
    videos: Annotated[list[Video], Meta(min_length=1, description="the finished ones, by name")]
    slowest: Annotated[list[str], Meta(description="names, those with the longest denoising first")]
    most_skipped: Annotated[list[str], Meta(description="names, the highest skip ratio first")]
    worst: Annotated[list[str], Meta(description="names, the lowest PSNR first; empty without --baseline")]
    failed: Annotated[list[Failure], Meta(description="those whose last attempt failed")]
    notes: Annotated[list[str], Meta(description="what a reader should know")]
    version: int = SUMMARY_VERSION


def summarise(root: Path) -> Summary:
    """Sum up the folder of a batch, finished or not.

    Raises:
        OutputError: there is no manifest, it cannot be read, or nothing is finished.
    """
    records = read_manifests(root)
    if not records:
        raise OutputError(f"expected a batch's folder; {root} has no manifest", "navicache batch … first")
    done = [name for name, record in sorted(records.items()) if isinstance(record, Done)]
    found, unread = read_finished(root, done)
    if not found:
        raise OutputError(f"expected finished videos in {root}; found none", "navicache batch … first")
    names = name_settings([one.options for one in found])
    videos = [Video(name=one.name, setting=names[one.options], **one.facts) for one in found]
    groups: dict[str, list[int]] = {}
    for index, video in enumerate(videos):
        groups.setdefault(video.setting, []).append(index)
    settings = [
        _setting(name, [videos[i] for i in group], [found[i].computed for i in group])
        for name, group in sorted(groups.items())
    ]
    states = Counter(record.state for record in records.values())
    return Summary(
        models=sorted({one.model for one in found}),
        states=dict(sorted(states.items())),
        settings=settings,
        videos=videos,
        slowest=_first(videos, lambda video: -video.denoise_s),
        most_skipped=_first(videos, lambda video: -video.skip_ratio if video.skipped else None),
        worst=_first(videos, _closeness),
        failed=_failures(records),
        notes=_notes(videos, unread, states),
    )


def name_settings(found: Iterable[Options]) -> dict[Options, str]:
    """Name settings by method and mode or budget, and by the options in which those of one name differ."""
    groups: dict[str, list[Options]] = {}
    for options in dict.fromkeys(found):
        values = dict(options)
        base = OFF if values["method"] == OFF else f"{values['method']} {values['mode']}"
        groups.setdefault(base, []).append(options)
    names = {}
    for base, group in groups.items():
        known = [dict(options) for options in group]
        keys = dict.fromkeys(key for values in known for key in values)
        varying = [key for key in keys if len({values.get(key) for values in known}) > 1]
        for options, values in zip(group, known, strict=True):
            further = [f"{key.replace('_', ' ')} {values.get(key) or 'default'}" for key in varying]
            names[options] = ", ".join([base, *further])
    return names


def read_listed(summary: Summary, root: Path) -> dict[str, Report]:
    """Return the reports of the videos that are listed by name: the slowest, the worst."""
    listed = dict.fromkeys([*summary.slowest, *summary.most_skipped, *summary.worst])
    return {name: read_report(root / REPORTS / report_name(name)) for name in listed}


def _setting(name: str, videos: Sequence[Video], computed: Sequence[Sequence[bool]]) -> SettingSummary:
    frequency = 1 - np.mean(np.array(computed, dtype=float), axis=0)
    return SettingSummary(
        name=name,
        videos=len(videos),
        skip_ratio=_distribution([video.skip_ratio for video in videos]),
        denoise_s=_distribution([video.denoise_s for video in videos]),
        speedup=_distribution([video.speedup for video in videos]),
        fidelity={key: _distribution([video.fidelity[key] for video in videos]) for key in FROM_FRAMES},
        beyond_bound=sum(video.beyond_bound for video in videos),
        skip_frequency=[round(float(value), 6) for value in frequency],
    )


def _distribution(values: Iterable[float | None]) -> Distribution | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    quantiles = np.quantile(known, [0, 0.1, 0.5, 0.9, 1])
    return Distribution(len(known), float(np.mean(known)), *(float(one) for one in quantiles))


def _first(videos: Sequence[Video], rank: Callable[[Video], float | None]) -> list[str]:
    """Names of the videos with the lowest rank; those without one are left out."""
    ranked = [(value, video.name) for video in videos if (value := rank(video)) is not None]
    return [name for _, name in sorted(ranked)[:MOST_LISTED]]


def _closeness(video: Video) -> float | None:
    value = video.fidelity[LEADING.key]
    return None if value is None else LEADING.rank(value)


def _failures(records: dict[str, Record]) -> list[Failure]:
    return [
        Failure(name, record.error) for name, record in sorted(records.items()) if isinstance(record, Failed)
    ]


def _notes(videos: Sequence[Video], unread: Sequence[str], states: Counter[str]) -> list[str]:
    notes = []
    if unread:
        notes.append(f"{len(unread)} finished videos are left out: no readable report, {unread[0]}")
    without = sum(video.fidelity[LEADING.key] is None for video in videos)
    if without:
        notes.append(
            f"speedup and fidelity need videos made with --baseline; {without} of {len(videos)} were not"
        )
    clocks = {video.clock for video in videos if video.speedup is not None}
    notes += speed_notes(clocks, any(video.beyond_bound for video in videos))
    unfinished = sum(states.values()) - states[DONE] - states[FAILED]
    if unfinished:
        notes.append(f"{unfinished} videos were started and are not finished")
    return notes
