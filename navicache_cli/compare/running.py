"""Runs the cells that are not on disk yet, and measures each against its baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from msgspec import UNSET

from navicache_cli.compare.jobs import Job
from navicache_cli.compare.runners import Outcome, Runner
from navicache_cli.compare.store import Cell, Store
from navicache_cli.errors import BackendError, SiteError, UsageError
from navicache_cli.media.fidelity import Fidelity, Models, compare_videos, means_of
from navicache_cli.media.metrics import FROM_FRAMES
from navicache_cli.media.video import VideoInfo
from navicache_cli.plan.plan import plan_document
from navicache_cli.report.report import Baseline, Output, Report, machine_facts
from navicache_cli.report.speed import make_timings, speedup
from navicache_cli.run.generation import video_tags
from navicache_cli.run.produce import publish_result
from navicache_cli.run.runner import Clock, warm_up_plan


@dataclass
class Work:
    """Runs jobs in order.

    Attributes:
        runners: by the names settings have for them.
        store: where finished cells are kept.
        sitting: a name for this call of the program.
        models: see `fidelity.compare_videos`.
        left_out: settings that do not fit the model, by name, with the reason; see `Setting.optional`.
    """

    runners: Mapping[str, Runner]
    store: Store
    sitting: str
    models: Models = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._warm: set[str] = set()
        # The baseline compared with last: its key and its frames.
        self._reference: tuple[str, np.ndarray] | None = None

    def run(self, jobs: Iterable[Job], on_cell: Callable[[Job, Cell, bool], None]) -> dict[str, Cell]:
        """Find or run every job's cell.

        Args:
            jobs: each baseline before what is held against it; see `jobs.list_jobs`.
            on_cell: called with each cell; True if it was run just now.

        Returns:
            Cells by key.

        Raises:
            NavicacheError: a cell cannot be run or written, or the folder was removed meanwhile; what is
                finished stays.
        """
        cells: dict[str, Cell] = {}
        for job in jobs:
            if job.setting.name in self.left_out:
                continue
            found = cells.get(job.key) or self.store.find(job)
            try:
                cell = found or self._run(job, cells.get(job.baseline))
            except (UsageError, SiteError, BackendError) as error:
                if not job.setting.optional:
                    raise
                self.left_out[job.setting.name] = error.message
                continue
            cells[job.key] = cell
            on_cell(job, cell, found is None)
        return cells

    def _run(self, job: Job, baseline: Cell | None) -> Cell:
        runner = self.runners[job.setting.runner]
        self.store.check()
        if job.setting.runner not in self._warm:
            runner.run(warm_up_plan(job.plan), job.setting)
            self._warm.add(job.setting.runner)
        outcome = runner.run(job.plan, job.setting)
        self.store.check()
        if baseline is None:
            self.store.keep_frames(job.key, outcome.frames)
            self._reference = (job.key, outcome.frames)
            fidelity = None
        else:
            fidelity = compare_videos(outcome.frames, self._frames_of(baseline.key), models=self.models)
        report = _write(job, outcome, runner, self.store, _compared(outcome, fidelity, baseline))
        cell = Cell(job.key, self.sitting, fidelity, report)
        self.store.finish(cell)
        return cell

    def _frames_of(self, key: str) -> np.ndarray:
        if self._reference is None or self._reference[0] != key:
            self._reference = (key, self.store.frames(key))
        return self._reference[1]


def _compared(outcome: Outcome, fidelity: Fidelity | None, baseline: Cell | None) -> Baseline | None:
    if fidelity is None or baseline is None:
        return None
    timings = baseline.report.timings_s
    return Baseline(
        denoise_s=timings.denoise,
        denoise_cpu_s=timings.cpu.get("denoise", 0.0),
        total_s=timings.total,
        speedup=speedup(timings, make_timings(outcome.seconds, outcome.cpu_seconds)),
        fidelity={key: mean for key, mean in means_of(fidelity).items() if key in FROM_FRAMES},
    )


def _write(job: Job, outcome: Outcome, runner: Runner, store: Store, baseline: Baseline | None) -> Report:
    """Write video and report of a cell, in place of what an interrupted run may have left."""
    writing = Clock()

    def report_for(info: VideoInfo) -> Report:
        return Report(
            plan=plan_document(job.plan),
            model=runner.identity,
            machine=machine_facts(),
            timings_s=make_timings(outcome.seconds, outcome.cpu_seconds, write=writing()),
            steps=outcome.steps,
            totals=outcome.totals,
            # Relative to the comparison, which may be moved.
            output=Output(
                f"cells/{info.path.name}", info.sha256, info.frames, info.width, info.height, info.fps
            ),
            baseline=baseline or UNSET,
            notes=(f"a cell of a comparison: {job.setting.name}; the model was loaded once for all",),
        )

    tags, place = video_tags(job.plan, runner.identity.name), (store.video(job.key), store.report(job.key))
    return publish_result(outcome.frames, job.plan.fps, tags, report_for, [place], overwrite=True)
