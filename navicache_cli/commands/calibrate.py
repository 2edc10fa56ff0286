"""`navicache calibrate`: measure the magnitude ratios that MagCache needs of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..documents import write_document
from ..errors import UsageError
from ..files import prepare_folder
from ..plan import Plan

if TYPE_CHECKING:
    from ..cache import Session


def calibrate(plan: Plan, output: Path, quiet: bool = False) -> None:
    """Generate once, every step computed, and write what the residuals' magnitudes do from step to step.

    Args:
        plan: what to generate; its method is not used.
        output: the file to write.
        quiet: print the path alone.

    Raises:
        NavicacheError: see the error classes; nothing is left half-written.
    """
    from backends.registry import get_backend

    from .. import terminal
    from ..cache import Calibration
    from ..distributed import check_processes, leave_processes, read_launch
    from ..runner import run

    if output.exists() and not plan.overwrite:
        raise UsageError(
            f"expected a new file, found {output}", "choose another --output, or add --overwrite"
        )
    if plan.steps < 2:
        raise UsageError(f"expected at least 2 steps to compare, found {plan.steps}", "--steps 50")
    launch = read_launch()
    check_processes(plan, launch)
    backend = get_backend(plan.model)
    for note in backend.check(plan):
        if launch.first and not quiet:
            terminal.show_note(note)
    if launch.first:
        prepare_folder(output.parent, "choose another --output")
    pipeline = backend.load(plan)
    with terminal.StepProgress(
        f"{plan.model} calibration", plan.steps, quiet or not launch.first
    ) as progress:
        done = run(pipeline, plan, on_step=progress, policy=Calibration())
    leave_processes()
    if not launch.first:
        return
    ratios = ratios_of(done.session)
    write_document({**_facts(plan, pipeline.identity.weights_digest), "ratios": ratios}, output)
    if not quiet:
        low, high = min(ratios), max(ratios)
        terminal.stdout.print(f"{len(ratios)} magnitude ratios between {low:.4f} and {high:.4f}")
        terminal.stdout.print(f"use: navicache generate --method magcache --set ratios={output}")
    terminal.stdout.print(str(output), soft_wrap=True)


def ratios_of(session: Session) -> list[float]:
    """The ratio of every step, of the first branch; 1 for the first step, which has none before it."""
    measured = [record.features.residual_ratio for record in session.records]
    return [1.0, *(round(ratio, 5) for ratio in measured if ratio is not None)]


def _facts(plan: Plan, weights: str) -> dict[str, Any]:
    """What the ratios were measured on."""
    names = ("model", "task", "steps", "size", "frames", "solver", "shift", "guidance", "seed", "prompt")
    return {
        "source": f"navicache {__version__} calibrate",
        "weights": weights,
        **{name: getattr(plan, name) for name in names},
    }
