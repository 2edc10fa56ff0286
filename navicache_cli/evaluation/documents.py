"""vbench.json and common_metrics.json: what was found, as versioned documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, field

from navicache_cli.evaluation.dimensions import DIMENSIONS, QUALITY, SEMANTIC, Totals, add_up
from navicache_cli.evaluation.package import Verdict
from navicache_cli.media.fidelity import Fidelity, Series
from navicache_cli.media.metrics import METRICS
from navicache_cli.media.pairs import CONVENTION, over_files
from navicache_cli.report.documents import Count, Document, Part, one_of, written_by
from navicache_cli.report.report import PlanEntry

# Each goes up when a key of its document changes its name or meaning.
VBENCH_VERSION = 1
COMMON_VERSION = 1
VBENCH_CONVENTION = "VBench scripts/cal_final_score.py at 7975661"


class DimensionScore(Part, frozen=True):
    """One of VBench's dimensions."""

    name: str
    group: Annotated[str, one_of(QUALITY, SEMANTIC)]
    weight: Annotated[float, Meta(description="among those of the group")]
    score: Annotated[float | None, Meta(description="as vbench says it; null where it could not be scored")]
    normalised: Annotated[
        float | None, Meta(description="the score's range mapped to 0 to 1, not cut off there")
    ]
    videos: Annotated[Count, Meta(description="how many videos vbench counted")]
    seconds: Annotated[float | None, Meta(description="how long vbench took")]
    error: Annotated[str | None, Meta(description="why there is no score")]


class VideoScores(Part, frozen=True):
    """One video."""

    name: str
    prompt: str
    scores: Annotated[
        dict[str, float],
        Meta(description="by dimension, in its own unit: imaging_quality is 0 to 100 here"),
    ]


class Evaluation(Document, frozen=True, kw_only=True):
    """VBench's scores of a folder of videos, by dimension and by video, and what they add up to."""

    NAME: ClassVar[str] = "VBench evaluation"
    HINT: ClassVar[str] = "run `navicache eval vbench` again"

    source: Annotated[str, Meta(description="what wrote it")] = field(default_factory=written_by)
    version: int = VBENCH_VERSION
    convention: Annotated[str, Meta(description="where ranges and weights are from")] = VBENCH_CONVENTION
    vbench: Annotated[str, Meta(description="version of the package vbench")]
    folder: Annotated[str, Meta(description="of the videos, from where this document is")]
    plan: Annotated[
        dict[str, PlanEntry] | None,
        Meta(
            description="options of the videos; prompt and seed are each video's own; "
            "null for videos that were there"
        ),
    ]
    totals: Totals
    dimensions: Annotated[list[DimensionScore], Meta(min_length=1)]
    videos: Annotated[list[VideoScores], Meta(min_length=1)]
    notes: Annotated[list[str], Meta(description="what a reader should know")]


class Worst(Part, frozen=True):
    """The worst video by one metric."""

    name: str
    mean: float


class CommonMetrics(Document, frozen=True, kw_only=True):
    """How close videos are to those of the same names in another folder, by each metric."""

    NAME: ClassVar[str] = "common metrics"
    HINT: ClassVar[str] = "run `navicache eval common` again"

    source: Annotated[str, Meta(description="what wrote it")] = field(default_factory=written_by)
    version: int = COMMON_VERSION
    convention: Annotated[str, Meta(description="how the metrics are taken")] = CONVENTION
    a: Annotated[str, Meta(description="the folder of references")]
    b: Annotated[str, Meta(description="the folder held against it")]
    fidelity: Annotated[
        dict[str, Series | None],
        Meta(
            description="mean over videos of their means; per_frame: the mean at each frame of the videos "
            "that have it; null: left out"
        ),
    ]
    worst: Annotated[dict[str, Worst | None], Meta(description="by metric")]
    files: Annotated[
        dict[str, dict[str, Series | None]],
        Meta(min_length=1, description="each video, by its name: its figures by metric"),
    ]
    notes: Annotated[list[str], Meta(description="what a reader should know")]


def vbench_document(
    verdicts: Mapping[str, Verdict],
    errors: Mapping[str, str],
    prompts: Mapping[str, str],
    folder: str,
    version: str,
    plan: dict[str, PlanEntry] | None,
    notes: Sequence[str],
) -> Evaluation:
    """Sum up what vbench said.

    Args:
        verdicts: by dimension.
        errors: of the dimensions that could not be scored.
        prompts: of each video, by its name.
        folder: of the videos, from where the document is.
        version: of the package vbench.
        plan: the options of the videos, if they were made here.
        notes: what a reader should know.
    """
    return Evaluation(
        vbench=version,
        folder=folder,
        plan=plan,
        totals=add_up({name: verdict.score for name, verdict in verdicts.items()}),
        dimensions=[
            _dimension(name, verdicts.get(name), errors.get(name))
            for name in DIMENSIONS
            if name in verdicts or name in errors
        ],
        videos=[
            VideoScores(
                name,
                prompt,
                {key: verdict.videos[name] for key, verdict in verdicts.items() if name in verdict.videos},
            )
            for name, prompt in prompts.items()
        ],
        notes=list(notes),
    )


def _dimension(name: str, verdict: Verdict | None, error: str | None) -> DimensionScore:
    dimension = DIMENSIONS[name]
    return DimensionScore(
        name=name,
        group=dimension.group,
        weight=dimension.weight,
        score=None if verdict is None else verdict.score,
        normalised=None if verdict is None else dimension.normalise(verdict.score),
        videos=0 if verdict is None else len(verdict.videos),
        seconds=None if verdict is None else verdict.seconds,
        error=error,
    )


def common_document(a: Path, b: Path, found: Mapping[str, Fidelity], notes: Sequence[str]) -> CommonMetrics:
    """Sum up the figures of all pairs, by the names of their files; `a` has the references."""
    worst: dict[str, Worst | None] = {}
    for key, metric in METRICS.items():
        means = {name: one.mean for name, fidelity in found.items() if (one := fidelity[key]) is not None}
        name = min(means, key=lambda name: metric.rank(means[name]), default="")
        worst[key] = Worst(name, means[name]) if means else None
    return CommonMetrics(
        a=str(a),
        b=str(b),
        fidelity=over_files(list(found.values())),
        worst=worst,
        files=dict(found),
        notes=list(notes),
    )
