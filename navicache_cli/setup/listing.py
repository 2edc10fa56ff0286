"""`navicache presets` and `navicache models`: what there is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.plan.options import BUILT_IN
from navicache_cli.plan.presets import OFF, Preset, load_presets, preset_faults, preset_for

if TYPE_CHECKING:
    from backends.registry import Family


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
            values = {**BUILT_IN, **preset.defaults, **changes}
            values["threshold"] = values["threshold"] or "-"
            shown = (values[key] for key in ("method", "threshold", "align_steps", "estimator"))
            table.add_row(*(Text(str(value)) for value in (preset.model, mode, *shown)))
        table.add_row(preset.model, OFF, OFF, "-", "-", "-", style="dim")
    terminal.stdout.print(table)
    for preset in presets:
        terminal.stdout.say((f"{preset.model}: {preset.sources.get('modes', '')}", "dim"))
        if preset.methods:
            names = ", ".join(preset.methods)
            terminal.stdout.say((f"{preset.model}: also --method {names}", "dim"))
    for fault in {} if model else preset_faults().values():
        terminal.show_note(fault.message)


def show_models(as_json: bool) -> None:
    """Show every model family: its tasks and sizes, and whether it can run here."""
    from backends.registry import families, problem_of

    presets, faults = load_presets(), preset_faults()
    offered = {family.name: family for family in reversed(families())}  # of one name, what can be used
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*presets, *offered]):
        family = offered.get(name)
        problem = problem_of(name) if family else "no backend in this installation"
        rows.append(
            _row(name, presets.get(name), family, faults[name].message if name in faults else problem)
        )
    for family in families():
        if family.fault and family.name not in faults:
            name = f"{family.name} ({family.package})"
            rows.append(_row(name, None, family, family.error(family.fault).message))
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "what", "tasks: sizes", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        tasks = "\n".join(f"{task}: {', '.join(sizes)}" for task, sizes in row["tasks"].items())
        words = (row["model"], row["title"], tasks, _state(row))
        table.add_row(*map(Text, words))
    terminal.stdout.print(table)


def _state(row: dict[str, Any]) -> str:
    """Say whether a family can run here or what installs it; `doctor` and --json say what is missing."""
    from backends.official.installation import MODULES

    if row["problem"] and row["model"] in MODULES:
        return f"not installed: navicache setup {row['model']}"
    return row["problem"] or "ready"


def _row(name: str, preset: Preset | None, family: Family | None, problem: str) -> dict[str, Any]:
    return {
        "model": name,
        "title": preset.title if preset else name,
        "repository": preset.repository if preset else "",
        "tasks": {task: spec["sizes"] for task, spec in preset.tasks.items()} if preset else {},
        "package": family.package if family and not family.own else "navicache",
        "ready": not problem,
        "problem": problem,
    }
