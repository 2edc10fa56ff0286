"""What the cache did in one call of a pipeline: plain numbers, in the command line's report format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from navicache_cli.cache.session.session import Session
from navicache_cli.report.documents import plain
from navicache_cli.report.report import StepReport, Totals
from navicache_cli.report.steps import session_totals, step_reports

_COMPUTED, _SKIPPED, _OTHER = "█", "░", " "


@dataclass(frozen=True)
class LoopReport:
    """One denoising loop, or as much of it as ran.

    Attributes:
        steps: each step as `navicache generate` reports it.
        totals: their sums, in the same way; the peak of memory is not followed and stays 0.
        models: which of the pipeline's models each step belongs to, such as the experts of Wan2.2.
        planned_steps: how many steps the scheduler announced.
        seconds: by the clock on the wall, from the first call of a model to the end.
    """

    steps: list[StepReport]
    totals: Totals
    models: list[str]
    planned_steps: int
    seconds: float

    def marks(self, model: str | None = None) -> str:
        """One character a step: █ computed, ░ skipped; blank where another than `model` was called."""
        return "".join(
            _OTHER if model not in (None, one) else _COMPUTED if step.computed else _SKIPPED
            for step, one in zip(self.steps, self.models, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; `steps` and `totals` have the keys of the command line's."""
        return {key: plain(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        totals = self.totals
        said = [
            f"{totals.skipped_steps} of {totals.steps} steps skipped ({totals.skip_ratio:.0%}), "
            f"at most {totals.speedup_bound:.2f}x faster"
        ]
        bar = totals.predicted_error
        if bar is not None and totals.skipped_steps:
            said.append(
                f"expected error {bar.relative:.1%} of the latents, {bar.low:.1%} to {bar.high:.1%} "
                f"in {bar.confidence:.0%} of cases"
            )
        said.append(f"{self.seconds:.2f} s, cache {totals.cache_bytes / 2**20:.2f} MiB")
        names = list(dict.fromkeys(self.models))
        width = max(len(name) for name in names)
        strips = [f"{name:{width}}  {self.marks(name)}".strip() for name in names]
        return "\n".join([*strips, *said])

    __repr__ = __str__


@dataclass(frozen=True)
class CallReport:
    """One call of a pipeline.

    Attributes:
        loops: its denoising loops in their order; most pipelines have one.
        notes: what is worth knowing of it.
    """

    loops: list[LoopReport]
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Steps of all loops."""
        return sum(loop.totals.steps for loop in self.loops)

    @property
    def skipped_steps(self) -> int:
        """How many of them were skipped."""
        return sum(loop.totals.skipped_steps for loop in self.loops)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"loops": [loop.to_json() for loop in self.loops], "notes": list(self.notes)}

    def __str__(self) -> str:
        if not self.loops:
            return "no denoising loop ran under the cache"
        several = len(self.loops) > 1
        parts = [
            (f"loop {number} of {len(self.loops)}\n" if several else "") + str(loop)
            for number, loop in enumerate(self.loops, 1)
        ]
        return "\n".join([*parts, *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__


def loop_report(session: Session, seconds: float) -> LoopReport | None:
    """The report of a session's generation; None where no step of it has run."""
    if not session.records:
        return None
    return LoopReport(
        step_reports(session),
        session_totals(session),
        [record.model for record in session.records],
        session.total_steps,
        seconds,
    )
