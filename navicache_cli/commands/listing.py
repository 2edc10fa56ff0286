"""`navicache presets` and `navicache models`: what there is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.table import Table

from .. import terminal
from ..presets import OFF, load_presets, preset_for


def show_presets(model: str | None, as_json: bool) -> None:
    """Show the cache settings of every mode, for one model or all.

    Raises:
        UsageError: there is no such model.
    """
    presets = [preset_for(model)] if model else list(load_presets().values())
    if as_json:
        print(json.dumps({preset.model: asdict(preset) for preset in presets}, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "mode", "method", "threshold", "align steps", "estimator"):
        table.add_column(column, no_wrap=True)
    for preset in presets:
        for mode, changes in preset.modes.items():
            values = {**preset.defaults, **changes}
            row = (values[key] for key in ("method", "threshold", "align_steps", "estimator"))
            table.add_row(preset.model, mode, *map(str, row))
        table.add_row(preset.model, OFF, OFF, "-", "-", "-", style="dim")
    terminal.stdout.print(table)
    for preset in presets:
        terminal.stdout.say((f"{preset.model}: {preset.sources.get('modes', '')}", "dim"))
        if preset.methods:
            names = ", ".join(preset.methods)
            terminal.stdout.say((f"{preset.model}: also --method {names}", "dim"))


def show_models(as_json: bool) -> None:
    """Show every model family: its tasks and sizes, and whether it can run here."""
    from backends.registry import backend_names, get_backend

    installed = backend_names()
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*load_presets(), *installed]):
        preset = load_presets().get(name)
        problem = get_backend(name).problem() if name in installed else "no backend in this installation"
        rows.append(
            {
                "model": name,
                "title": preset.title if preset else name,
                "repository": preset.repository if preset else "",
                "tasks": {task: spec["sizes"] for task, spec in preset.tasks.items()} if preset else {},
                "ready": not problem,
                "problem": problem,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "what", "tasks: sizes", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        tasks = "\n".join(f"{task}: {', '.join(sizes)}" for task, sizes in row["tasks"].items())
        table.add_row(row["model"], row["title"], tasks, "ready" if row["ready"] else row["problem"])
    terminal.stdout.print(table)
