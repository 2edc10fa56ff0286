"""The report: what one generation was asked for, what ran, what each step decided and what it cost.

Every command that measures something writes it, every plot and table reads it.
"""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType, field

from navicache_cli.report.documents import (
    Amount,
    Count,
    Digest,
    Document,
    Part,
    Positive,
    Share,
    one_of,
    read_document,
)
from navicache_cli.report.peak_memory import PROCESS, RUN
from navicache_cli.report.speed import Timings

REPORT_VERSION = 2  # goes up when a key changes its name or meaning; see `Report.upgrade`
NOT_PREDICTED = "no error of the latents is predicted: "  # how a note starts that says why


class PlanEntry(Part, frozen=True):
    """An option: its value, and the layer it came from."""

    value: str | int | float | bool | None
    source: str


PlanEntries = Annotated[dict[str, PlanEntry], Meta(min_length=1)]


class ModelIdentity(Part, frozen=True):
    """Which weights and code made the video."""

    name: Annotated[str, Meta(description="model and task")]
    repository: Annotated[str, Meta(description="where the code is from")]
    commit: Annotated[
        str, Meta(description="its commit, or that of weights on the hub; else the version of its package")
    ]
    weights_digest: Annotated[str, Meta(description="sha256:… over the weight files")]


class Machine(Part, frozen=True, forbid_unknown_fields=False):
    """The machine as far as it explains a timing: no host or user names."""

    platform: str
    python: str
    torch: str
    device: str
    accelerator: bool
    cpus: Positive
    threads: Annotated[Positive, Meta(description="of the CPU that compute")]
    waiting: Annotated[
        str, Meta(description="OMP_WAIT_POLICY: what threads do while they wait for one another")
    ] = "default"


class FitReport(Part, frozen=True):
    """What a predictor that learns knew of the first branch before a step."""

    trend: Annotated[
        Share,
        Meta(description="how much of a straight line through the last two computed outputs is followed"),
    ]
    trend_deviation: Amount | None
    record: Annotated[
        Amount | None,
        Meta(description="what past predictions missed over what holding missed, root mean square"),
    ]
    used: Annotated[bool, Meta(description="false: the output is held")]
    corrects: Annotated[
        bool,
        Meta(description="error feedback is applied: what skipped steps missed is added to later ones"),
    ]


class PredictedError(Part, frozen=True):
    """How far the final latents are from those without a cache, as predicted; see docs/predictors.md."""

    relative: Annotated[
        Amount,
        Meta(description="mean absolute error over the mean absolute value of the uncached latents"),
    ]
    low: Amount
    high: Amount
    confidence: Annotated[
        Share, Meta(description="probability that the true error lies between low and high")
    ]


class StepReport(Part, frozen=True):
    """One denoising step: whether it was computed, and the numbers the decision was made on."""

    index: Count
    timestep: Annotated[float, Meta(description="as the model was given it")]
    computed: Annotated[bool, Meta(description="the model ran")]
    forced: Annotated[bool, Meta(description="no other choice was open")]
    seconds: Annotated[Amount | None, Meta(description="inside the cached region, all branches")]
    ratio: Annotated[
        float | None,
        Meta(description="k, the filtered feature-change ratio, as known before the decision"),
    ]
    variance: Annotated[float | None, Meta(description="P, its variance")]
    innovation: Annotated[
        float | None, Meta(description="measured minus expected ratio, if this step measured one")
    ]
    predicted_change: Annotated[
        float | None, Meta(description="relative output change expected for this step alone")
    ]
    accumulated_error: Annotated[float | None, Meta(description="E at the decision")]
    reused: Annotated[
        list[str],
        Meta(description="kinds of attention whose earlier outputs were used; the model ran all the same"),
    ] = field(default_factory=list)
    threshold: Annotated[float | None, Meta(description="the threshold E was compared with, if it was")] = (
        None
    )
    fit: Annotated[
        FitReport | None, Meta(description="what a predictor that learns knew before this step")
    ] = None
    predicted_error: Annotated[
        Amount | None,
        Meta(description="relative error of the final latents as predicted at this step"),
    ] = None
    stopped: Annotated[
        bool, Meta(description="computed because that error would have passed --max-error")
    ] = False


class Totals(Part, frozen=True):
    """Sums over the steps."""

    steps: Count
    computed_steps: Count
    skipped_steps: Count
    skip_ratio: Annotated[Share, Meta(description="skipped_steps / steps")]
    compute_ratio: Share
    transformer_calls: Count
    transformer_calls_saved: Count
    cache_bytes: Annotated[Count, Meta(description="the most the cache held at once")]
    peak_memory_bytes: Annotated[
        Count,
        Meta(
            description="the most in use at once: the GPU's where there is one, else this process's; "
            "0 if unknown"
        ),
    ]
    speedup_bound: Annotated[
        float,
        Meta(ge=1, description="steps / computed_steps: what skipping alone could reach in denoising time"),
    ]
    attention_calls: Annotated[Count, Meta(description="attentions run by a method that works on them")] = 0
    attention_calls_saved: Annotated[Count, Meta(description="attentions whose earlier output was used")] = 0
    cache_tensors: Annotated[
        Amount,
        Meta(description="cache_bytes over the bytes of one branch's input, such as the latents"),
    ] = 0.0
    predicted_error: Annotated[
        PredictedError | None,
        Meta(description="of the final latents; null where the method predicts none"),
    ] = None
    peak_memory_of: Annotated[
        str,
        one_of(RUN, PROCESS),
        Meta(description="whose peak it is; process, where absent too: an earlier run may have used it"),
    ] = PROCESS


class Baseline(Part, frozen=True):
    """The same generation uncached (only with --baseline), and how the cached one compares with it."""

    denoise_s: Amount
    speedup: Annotated[
        Amount, Meta(description="seconds of denoising uncached over cached, by timings_s.clock")
    ]
    fidelity: dict[str, float]
    denoise_cpu_s: Annotated[Amount, Meta(description="CPU time of its denoising")] = 0.0
    total_s: Annotated[Amount, Meta(description="seconds of its text, denoising and decoding")] = 0.0


class Output(Part, frozen=True):
    """The video file."""

    path: str
    sha256: Digest
    frames: Positive
    width: Positive
    height: Positive
    fps: Annotated[float, Meta(gt=0)]


class Recorded(Part, frozen=True):
    """All steps measured against one another on the first branch (only with --trajectory)."""

    input_spans: Annotated[
        list[list[float | None]],
        Meta(description="row i: mean |x_i - x_j| for each earlier step j = 0 to i - 1"),
    ]
    output_spans: Annotated[list[list[float | None]], Meta(description="the same of the outputs y")]
    output_norms: Annotated[list[float | None], Meta(description="mean |y_i|")]


class Report(Document, frozen=True, kw_only=True):
    """One generation: what was asked for, what ran, what each step decided and what it cost."""

    NAME: ClassVar[str] = "report"
    MEND: ClassVar[str] = "run `navicache generate` again"

    plan: PlanEntries
    model: ModelIdentity
    machine: Machine
    timings_s: Timings
    steps: list[StepReport]
    totals: Totals
    output: Output
    baseline: Baseline | UnsetType = UNSET
    trajectory: Recorded | UnsetType = UNSET
    notes: Annotated[tuple[str, ...], Meta(description="what a reader should know, such as ignored words")]
    version: int = REPORT_VERSION

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take version 1 too, which had another name for `corrects`."""
        if values.get("version") != 1:
            return values
        steps = values.get("steps")
        changed = {"steps": [_upgraded_step(step) for step in steps]} if isinstance(steps, list) else {}
        return {**values, **changed, "version": REPORT_VERSION}

    def plan_values(self) -> dict[str, Any]:
        """Return the options without where each is from."""
        return {key: entry.value for key, entry in self.plan.items()}


def _upgraded_step(step: Any) -> Any:
    fit = step.get("fit") if isinstance(step, dict) else None
    if not isinstance(fit, dict):
        return step
    return {**step, "fit": {{"settles": "corrects"}.get(key, key): value for key, value in fit.items()}}


def read_report(path: Path) -> Report:
    """Read a report.

    Raises:
        OutputError: the file is missing, not JSON, or not a report.
    """
    return read_document(path, Report)


def finite(value: float | None) -> float | None:
    """Return the number, or None for one that JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def machine_facts() -> Machine:
    """Describe this machine."""
    import torch

    cuda = torch.cuda.is_available()
    return Machine(
        platform=platform.platform(terse=True),
        python=platform.python_version(),
        torch=torch.__version__,
        device=torch.cuda.get_device_name() if cuda else (platform.processor() or platform.machine()),
        accelerator=cuda,
        cpus=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        waiting=os.environ.get("OMP_WAIT_POLICY", "").lower() or "default",
    )
