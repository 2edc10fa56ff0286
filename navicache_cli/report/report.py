"""The report: one versioned JSON document a run. Dataclasses in, a shipped schema out.

Every command that measures something writes it, every plot and table reads it. The schema is
`report.schema.json` beside this file; `REPORT_VERSION` changes when a key changes its meaning.
"""

from __future__ import annotations

import math
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from navicache_cli.errors import OutputError
from navicache_cli.reading import read_json
from navicache_cli.report.documents import check_document, document_text, flat, read_schema
from navicache_cli.report.peak_memory import PROCESS
from navicache_cli.report.speed import Timings

REPORT_VERSION = 1
NOT_PREDICTED = "no error of the latents is predicted: "  # how a note starts that says why


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights and code made the video.

    Attributes:
        name: model and task.
        repository: where the code is from.
        commit: its commit, or the package version of a built-in model.
        weights_digest: `sha256:…` over the weight files.
    """

    name: str
    repository: str
    commit: str
    weights_digest: str


@dataclass(frozen=True)
class FitReport:
    """What a calibrated predictor knew of the first branch; see `cache.predictors.trend.Fit`."""

    trend: float
    trend_deviation: float | None
    record: float | None
    used: bool
    settles: bool


@dataclass(frozen=True)
class PredictedError:
    """How far the final latents are from those without a cache, predicted; see docs/predictors.md.

    Attributes:
        relative: mean absolute error over the mean absolute value of the uncached latents.
        low, high: the band it lies in with a probability of `confidence`.
    """

    relative: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class StepReport:
    """One denoising step: whether it was computed, and the numbers the decision was made on.

    Attributes:
        index, timestep: which step; the timestep as the model was given it.
        computed, forced: whether the model ran; whether no other choice was open.
        seconds: time inside the cached region, all branches.
        ratio, variance: k and P after the last measurement before this step's decision.
        innovation: measured ratio minus expected, if this step measured one.
        predicted_change: relative output change expected for this step alone.
        accumulated_error: E at the decision.
        reused: kinds of attention whose earlier outputs were used; the model ran all the same.
        threshold: the threshold E was compared with, if it was.
        fit: what a predictor that learns knew before the step.
        predicted_error: relative error of the final latents, as predicted at this step.
        stopped: computed because that error would have passed --max-error.
    """

    index: int
    timestep: float
    computed: bool
    forced: bool
    seconds: float | None
    ratio: float | None
    variance: float | None
    innovation: float | None
    predicted_change: float | None
    accumulated_error: float | None
    reused: list[str] = field(default_factory=list)
    threshold: float | None = None
    fit: FitReport | None = None
    predicted_error: float | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Totals:
    """Sums over the steps.

    `skip_ratio` is skipped_steps / steps; `speedup_bound` is what skipping alone could reach in denoising
    time, steps / computed_steps. `cache_bytes` is the most the cache held at once, and `cache_tensors`
    the same in tensors of the size of one branch's input, such as the latents. `attention_calls` and
    `attention_calls_saved` count attentions that ran or did not, for a method that works on them.
    `predicted_error` is that of the final latents; None where it cannot be predicted.
    `peak_memory_of` is whose `peak_memory_bytes` is; see `peak_memory.Peak`.
    """

    steps: int
    computed_steps: int
    skipped_steps: int
    skip_ratio: float
    compute_ratio: float
    transformer_calls: int
    transformer_calls_saved: int
    cache_bytes: int
    peak_memory_bytes: int
    speedup_bound: float
    attention_calls: int = 0
    attention_calls_saved: int = 0
    cache_tensors: float = 0.0
    predicted_error: PredictedError | None = None
    peak_memory_of: str = PROCESS


@dataclass(frozen=True)
class Baseline:
    """The same generation without the cache, and how the cached one compares with it.

    Attributes:
        denoise_s, denoise_cpu_s, total_s: its seconds, as `speed.Timings` has them.
        speedup: its seconds of denoising over the cached one's, by `Timings.clock`.
        fidelity: of the cached video against its own, by metric (means over frames).
    """

    denoise_s: float
    speedup: float
    fidelity: dict[str, float]
    denoise_cpu_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True)
class Output:
    """The video file."""

    path: str
    sha256: str
    frames: int
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Report:
    """Everything about one generation.

    Attributes:
        plan: each option with its value and its source.
        baseline: only with --baseline.
        trajectory: only with --trajectory: `cache.Trajectory.to_json`, for `navicache replay`.
    """

    plan: dict[str, dict[str, Any]]
    model: ModelIdentity
    machine: dict[str, Any]
    timings_s: Timings
    steps: list[StepReport]
    totals: Totals
    output: Output
    baseline: Baseline | None = None
    trajectory: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    version: int = REPORT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON values; keys that were not asked for are absent."""
        document = asdict(self)
        document["notes"] = list(self.notes)
        for optional in ("baseline", "trajectory"):
            if document[optional] is None:
                del document[optional]
        if self.baseline:
            document["baseline"] = flat(document["baseline"])
        return document


def schema() -> dict[str, Any]:
    """Return the shipped JSON schema."""
    return read_schema("report.schema.json")


def validate(document: Any) -> None:
    """Check a document against the schema.

    Raises:
        OutputError: naming the first key that does not fit.
    """
    check_document(document, schema(), "navicache report", "run `navicache generate` again")


def plan_values(document: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a report's plan, without where each is from."""
    return {key: entry["value"] for key, entry in document["plan"].items()}


def finite(value: float | None) -> float | None:
    """Return the number, or None for one that JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def report_text(report: Report) -> str:
    """Return a report as it is written to files, checked against its schema.

    Raises:
        OutputError: it does not fit.
    """
    document = report.to_json()
    validate(document)
    return document_text(document)


def read_report(path: Path) -> dict[str, Any]:
    """Read and validate a report.

    Raises:
        OutputError: the file is missing, not JSON, or not a report.
    """
    try:
        document = read_json(path)
    except OSError as error:
        raise OutputError(f"cannot read the report {path}: {error.strerror}", "check the path") from None
    try:
        validate(document)
    except OutputError as error:
        raise OutputError(f"{path}: {error.message}", error.hint) from None
    found: dict[str, Any] = document
    return found


def machine_facts() -> dict[str, Any]:
    """Describe the machine as far as it explains a timing: no host or user names."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else (platform.processor() or platform.machine()),
        "accelerator": cuda,
        "cpus": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "waiting": os.environ.get("OMP_WAIT_POLICY", "").lower() or "default",
    }
