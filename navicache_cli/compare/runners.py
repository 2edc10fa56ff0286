"""Who makes the video of a cell. The cache's methods have one runner; other implementations add theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from navicache_cli.compare.settings import Setting
from navicache_cli.compare.work import WorkMeter
from navicache_cli.report.steps import step_reports
from navicache_cli.run.runner import run, totals

if TYPE_CHECKING:
    import numpy as np

    from backends.protocol import Pipeline
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity, StepReport, Totals


@dataclass(frozen=True)
class Outcome:
    """One finished generation.

    Attributes:
        frames: [F, H, W, 3] uint8, before any encoding.
        seconds: wall-clock seconds of the stages `text`, `denoise` and `decode`.
        steps: each step; of another implementation as much as it tells.
        totals: `compute_ratio` is the work of the transformer over that of all its own steps; work saved
            inside a step counts, see `work`.
        cpu_seconds: CPU time of the stages; empty where it was not taken.
    """

    frames: np.ndarray
    seconds: dict[str, float]
    steps: list[StepReport]
    totals: Totals
    cpu_seconds: dict[str, float] = field(default_factory=dict)


class Runner(Protocol):
    """Makes videos for settings of one kind; a setting names it by `Setting.runner`.

    Attributes:
        identity: weights and code. Another implementation has a repository and commit of its own, so that
            cells are run again when it changes.
    """

    identity: ModelIdentity

    def run(self, plan: Plan, setting: Setting) -> Outcome:
        """Generate.

        Args:
            plan: what to generate: prompt, seed, sampler, size; and the cache, where it is this project's.
            setting: for `arguments`, which only runners of other implementations have.

        Raises:
            NavicacheError: it does not fit the model, or the device's memory did not suffice.
        """


class PipelineRunner:
    """The loaded model under a cache session, as `generate` runs it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._work = WorkMeter(pipeline)
        self.identity = pipeline.identity

    def run(self, plan: Plan, setting: Setting) -> Outcome:
        from navicache_cli.media.video import to_uint8

        done = run(self._pipeline, plan)
        work = self._work.compute_ratio(plan, done.session)
        sums = structs.replace(totals(done), compute_ratio=work)
        return Outcome(to_uint8(done.video), done.seconds, step_reports(done.session), sums, done.cpu_seconds)
