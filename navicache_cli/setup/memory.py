"""`navicache memory`: what a generation takes of a GPU, whether it fits, and what would take less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from navicache_cli import terminal
from navicache_cli.errors import UsageError
from navicache_cli.plan.memory import (
    DENOISE,
    RESERVE,
    Estimate,
    changes,
    estimate,
    known_models,
    model_of,
    plan_without_pictures,
)
from navicache_cli.plan.plan import Plan
from navicache_cli.report.peak_memory import gpu_gigabytes

_STAGES = {"text": "text", "encode": "VAE encode", "denoise": "denoising", "decode": "VAE decode"}


def show_memory(
    flags: dict[str, Any],
    assignments: list[str],
    config: Path | None,
    environment: dict[str, str],
    gpu: float | None,
    as_json: bool,
) -> None:
    """Show the estimate of a plan.

    Args:
        flags, assignments, config, environment: see `build_plan`; pictures a task needs are not asked for.
        gpu: GiB it has to fit in, or None for this machine's GPU.
        as_json: print a JSON document instead of tables.

    Raises:
        UsageError: a wrong option, or nothing was measured for the plan.
    """
    model = model_of(flags, assignments, config, environment)
    if model not in known_models():
        raise UsageError(
            f"expected a model whose memory was measured, found {model}",
            f"--model {', --model '.join(known_models())}",
        )
    plan = plan_without_pictures(flags, assignments, config, environment)
    found = estimate(plan)
    if found is None:
        alone = {"ulysses": 1, "ring": 1, "fsdp": False}
        shared = [name for name, value in alone.items() if getattr(plan, name) != value]
        raise UsageError(
            f"expected a plan for one GPU, found {' and '.join(shared)} of several",
            " ".join(f"--set {name}={str(alone[name]).lower()}" for name in shared),
        )
    gpu = gpu if gpu is not None else gpu_gigabytes()
    others = {name: one.peak for name, other in changes(plan).items() if (one := estimate(other))}
    if as_json:
        print(json.dumps(_document(plan, found, gpu, others), indent=1))
        return
    terminal.stdout.print(_table(plan, found))
    terminal.stdout.print(_verdict(found, gpu))
    if others:
        terminal.stdout.print("Less would take:")
    for name, peak in others.items():
        room = "" if gpu is None else ", fits" if peak + RESERVE <= gpu else ", does not fit"
        terminal.stdout.print(f"  {name}: {peak:.1f} GiB{room}", markup=False, highlight=False)


def _verdict(found: Estimate, gpu: float | None) -> str:
    needed = found.peak + RESERVE
    if gpu is None:
        return f"needs a GPU of {needed:.1f} GiB: {RESERVE:g} GiB is for CUDA itself"
    if found.fits(gpu):
        return f"fits in {gpu:.1f} GiB"
    return f"does not fit in {gpu:.1f} GiB: {needed:.1f} GiB needed, {RESERVE:g} of them for CUDA itself"


def _table(plan: Plan, found: Estimate) -> Table:
    title = (
        f"{plan.model} {plan.task}, {plan.size}, {plan.frames} frames, {plan.method}: {found.peak:.1f} GiB"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("GiB while", no_wrap=True)
    for column in ("weights", "activations", "cache", "total"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("weights of", overflow="fold")
    for name, stage in found.stages.items():
        parts = ", ".join(f"{part} {size:.1f}" for part, size in stage.weights.items())
        sizes = (sum(stage.weights.values()), stage.activations, stage.cache, stage.total)
        table.add_row(_STAGES.get(name, name), *(f"{size:.2f}" for size in sizes), parts)
    return table


def _document(plan: Plan, found: Estimate, gpu: float | None, others: dict[str, float]) -> dict[str, Any]:
    def rounded(size: float) -> float:
        return round(size, 3)

    denoise = found.stages[DENOISE]
    stages = {
        name: {
            "weights": {part: rounded(size) for part, size in stage.weights.items()},
            "activations": rounded(stage.activations),
            "cache": rounded(stage.cache),
            "total": rounded(stage.total),
        }
        for name, stage in found.stages.items()
    }
    fits = {} if gpu is None else {"gpu_gib": rounded(gpu), "fits": found.fits(gpu)}
    return {
        "model": plan.model,
        "task": plan.task,
        "size": plan.size,
        "frames": plan.frames,
        "method": plan.method,
        "peak_gib": rounded(found.peak),
        "stage": found.fullest,
        "weights_gib": rounded(sum(denoise.weights.values())),
        "activations_gib": rounded(denoise.activations),
        "cache_gib": rounded(denoise.cache),
        "decode_gib": rounded(found.stages["decode"].total),
        "reserve_gib": RESERVE,
        **fits,
        "stages": stages,
        "instead": [
            {"options": name, "peak_gib": rounded(peak)}
            | ({} if gpu is None else {"fits": peak + RESERVE <= gpu})
            for name, peak in others.items()
        ],
        "source": found.source,
        "command": found.command,
    }
