"""What a batch adds up to: skip ratios, times, speedups and fidelity of its finished videos.

`batch-report.json` holds a `Summary`; its schema is `batch_report.schema.json`. Speedup and fidelity
are there for videos made with `--baseline`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from navicache_cli import __version__
from navicache_cli.batch.finished import Options, read_finished
from navicache_cli.batch.folder import REPORTS, report_name
from navicache_cli.batch.manifest import DONE, FAILED, Record, read_manifests
from navicache_cli.errors import OutputError
from navicache_cli.media.metrics import FROM_FRAMES, LEADING
from navicache_cli.plan.presets import OFF
from navicache_cli.report.documents import check_document, flat, read_schema, write_document
from navicache_cli.report.report import read_report
from navicache_cli.report.speed import speed_notes

SUMMARY_VERSION = 1
MOST_LISTED = 8  # of the slowest, of the worst …


@dataclass(frozen=True)
class Video:
    """One finished video.

    Attributes:
        name: below the folder of videos.
        setting: name of its setting.
        prompt, seed: its own.
        steps: denoising steps, `skipped` of them predicted.
        skipped: see above.
        skip_ratio: skipped / steps.
        denoise_s, total_s: seconds of denoising; of everything, without loading the model.
        speedup: against the uncached one; None without `--baseline`.
        fidelity: to the uncached one, by metric; None likewise.
        beyond_bound: whether the speedup is above what the skipped steps allow; see `speed.beyond_bound`.
        clock: which one the speedup is from; see `speed`.
        video, report: paths in the batch's folder.
    """

    name: str
    setting: str
    prompt: str
    seed: int
    steps: int
    skipped: int
    skip_ratio: float
    denoise_s: float
    total_s: float
    speedup: float | None
    fidelity: dict[str, float | None]
    beyond_bound: bool
    clock: str
    video: str
    report: str


@dataclass(frozen=True)
class Distribution:
    """Of one measure over videos: how many have it, their mean, and quantiles (0, 10, 50, 90, 100 %)."""

    videos: int
    mean: float
    least: float
    low: float
    median: float
    high: float
    most: float


@dataclass(frozen=True)
class SettingSummary:
    """The videos of one setting.

    Attributes:
        name: method and mode, and what else sets it apart.
        videos: how many are finished.
        skip_ratio, denoise_s, speedup: None where no video has it.
        fidelity: by metric; None likewise.
        beyond_bound: in how many of them the speedup is above what the skipped steps allow.
        skip_frequency: at each step, the part of the videos that skipped it.
    """

    name: str
    videos: int
    skip_ratio: Distribution | None
    denoise_s: Distribution | None
    speedup: Distribution | None
    fidelity: dict[str, Distribution | None]
    beyond_bound: int
    skip_frequency: list[float]


@dataclass(frozen=True)
class Summary:
    """Everything about a batch.

    Attributes:
        models: names of the models, as reports have them.
        states: how many videos are in each state of the manifest.
        settings: in the order of their names.
        videos: the finished ones, by name.
        slowest: names, those with the longest denoising first.
        most_skipped: names, the highest skip ratio first.
        worst: names, the worst by the leading metric (PSNR) first; empty without baselines.
        failed: name and error of each that failed last.
        notes: what a reader should know.
    """

    models: list[str]
    states: dict[str, int]
    settings: list[SettingSummary]
    videos: list[Video]
    slowest: list[str]
    most_skipped: list[str]
    worst: list[str]
    failed: list[dict[str, str]]
    notes: list[str]
    version: int = SUMMARY_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        # First, so that the file is known as ours when it is to be replaced.
        document = {"navicache_version": __version__, **asdict(self)}
        for part in ("settings", "videos"):
            document[part] = [flat(one) for one in document[part]]
        return document


def summarise(root: Path) -> Summary:
    """Sum up the folder of a batch, finished or not.

    Raises:
        OutputError: there is no manifest, it cannot be read, or nothing is finished.
    """
    records = read_manifests(root)
    if not records:
        raise OutputError(f"expected a batch's folder; {root} has no manifest", "navicache batch … first")
    done = [name for name, record in sorted(records.items()) if record["state"] == DONE]
    found, unread = read_finished(root, done)
    if not found:
        raise OutputError(f"expected finished videos in {root}; found none", "navicache batch … first")
    names = name_settings([one.options for one in found])
    videos = [Video(one.name, names[one.options], **one.facts) for one in found]
    groups: dict[str, list[int]] = {}
    for index, video in enumerate(videos):
        groups.setdefault(video.setting, []).append(index)
    settings = [
        _setting(name, [videos[i] for i in group], [found[i].computed for i in group])
        for name, group in sorted(groups.items())
    ]
    states = Counter(str(record["state"]) for record in records.values())
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


def write_summary(summary: Summary, path: Path) -> None:
    """Write the document, checked against its schema.

    Raises:
        OutputError: the folder cannot be written, or the document does not fit.
    """
    document = summary.to_json()
    schema = read_schema("batch_report.schema.json")
    check_document(document, schema, "navicache batch report", "run `navicache batch-report` again")
    write_document(document, path)


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


def read_listed(summary: Summary, root: Path) -> dict[str, dict[str, Any]]:
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


def _failures(records: dict[str, Record]) -> list[dict[str, str]]:
    return [
        {"name": name, "error": str(record.get("error", ""))}
        for name, record in sorted(records.items())
        if record["state"] == FAILED
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
