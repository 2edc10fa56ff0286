"""`navicache calibrate`: measure the magnitude ratios that MagCache needs of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli import __version__
from navicache_cli.errors import UsageError
from navicache_cli.files import check_new, write_atomically
from navicache_cli.plan.plan import Plan
from navicache_cli.plan.presets import preset_for

if TYPE_CHECKING:
    from navicache_cli.cache import Session


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
    from navicache_cli import terminal
    from navicache_cli.cache import MeasureRatios
    from navicache_cli.launch import leave_processes, read_launch
    from navicache_cli.plan.parallel import check_processes
    from navicache_cli.run.runner import run

    if "magcache" not in preset_for(plan.model).methods:
        raise UsageError(
            f"calibrate expects a family that offers magcache, whose ratios it measures, found {plan.model}",
            "--model tiny, wan, wan2.2, hunyuan or opensora",
        )
    if plan.steps < 2:
        raise UsageError(f"expected at least 2 steps to compare, found {plan.steps}", "--steps 50")
    launch = read_launch()
    check_processes(plan, launch)
    if launch.first:
        check_new(output, plan.overwrite)
    backend = get_backend(plan.model)
    for note in backend.check(plan):
        if launch.first and not quiet:
            terminal.show_note(note)
    pipeline = backend.load(plan)
    with terminal.StepProgress(
        f"{plan.model} calibration", plan.steps, quiet or not launch.first
    ) as progress:
        done = run(pipeline, plan, on_step=progress, policy=MeasureRatios())
    leave_processes()
    if not launch.first:
        return
    ratios = ratios_of(done.session)
    document = {**_facts(plan, pipeline.identity.weights_digest), "ratios": ratios}
    write_atomically(output, json.dumps(document, indent=1) + "\n", plan.overwrite)
    if not quiet:
        low, high = min(ratios), max(ratios)
        terminal.stdout.print(f"{len(ratios)} magnitude ratios between {low:.4f} and {high:.4f}")
        terminal.stdout.say(f"use: navicache generate --method magcache --set ratios={output}")
    terminal.show_path(output)


def ratios_of(session: Session) -> list[float]:
    """The ratio of every step, of the first branch; 1 for the first of a model, which has none before it."""
    measured = [record.measured.residual_ratio for record in session.records]
    return [1.0 if ratio is None else round(ratio, 5) for ratio in measured]


def _facts(plan: Plan, weights: str) -> dict[str, Any]:
    """What the ratios were measured on."""
    names = ("model", "task", "steps", "size", "frames", "solver", "shift", "guidance", "seed", "prompt")
    return {
        "source": f"navicache {__version__} calibrate",
        "weights": weights,
        **{name: getattr(plan, name) for name in names},
    }
