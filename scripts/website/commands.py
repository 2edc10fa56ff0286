"""Pages of the site, one for each command, from what `--help` shows and the table of options."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from navicache_cli.app import app
from navicache_cli.plan.options import OPTIONS

# Where a command is explained.
EXPLAINED = {
    "generate": "choose.md",
    "batch": "batch.md",
    "batch-report": "batch.md",
    "compare": "comparing.md",
    "schedule": "schedules.md",
    "calibrate": "methods.md",
    "models": "official-models.md",
    "setup": "official-models.md",
    "doctor": "official-models.md",
    "memory": "memory.md",
    "metrics": "looking-at-results.md",
    "plot": "looking-at-results.md",
    "replay": "replay.md",
    "export-tiny": "diffusers.md",
    "eval vbench": "evaluation.md",
    "eval common": "evaluation.md",
}


def commands() -> dict[str, Any]:
    """Every command by its name, such as `eval vbench`, in the order of `navicache --help`."""
    return dict(_below(get_command(app)))


def _below(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def page_name(name: str) -> str:
    """The page of a command, within docs/."""
    return f"commands/{name.replace(' ', '-')}.md"


def overview() -> str:
    """The page that lists the commands."""
    program = get_command(app)
    rows = [
        f"| [`{name}`]({page_name(name).split('/')[1]}) | {_cell(_plain(command.help).splitlines()[0])} |"
        for name, command in commands().items()
    ]
    lines = [
        "# Command line",
        "",
        "These pages show what `navicache COMMAND --help` prints. What all commands share is in "
        "[command-line.md](../command-line.md).",
        "",
        *_table(rows),
        "",
        "## For all commands",
        "",
        *_options(program, program.params),
    ]
    return "\n".join(lines) + "\n"


def page(name: str, command: Any) -> str:
    """The page of a command."""
    context = command.context_class(command, info_name=f"navicache {name}")
    lines = [
        f"# `navicache {name}`",
        "",
        _cell(_plain(command.help)),
        "",
        "```text",
        context.get_usage().removeprefix("Usage: "),
        "```",
        "",
    ]
    if name in EXPLAINED:
        lines += [f"See also: [{EXPLAINED[name]}](../{EXPLAINED[name]})", ""]
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        panels.setdefault(_panel(parameter), []).append(parameter)
    for panel, parameters in panels.items():
        lines += [f"## {panel}", "", *_options(command, parameters), ""]
    return "\n".join(lines)


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _options(command: Any, parameters: list[Any]) -> list[str]:
    """The table of some parameters."""
    context = command.context_class(command)
    rows = []
    for parameter in parameters:
        shown, text = parameter.get_help_record(context)
        flags = shown.replace("|", r"\|")
        rows.append(f"| `{flags}` | {_cell(_plain(text.strip()))}{_range(parameter.name)} |")
    return _table(rows)


def _range(name: str) -> str:
    """The numbers an option may be, if its row says."""
    option = OPTIONS.get(name)
    return f" ({option.range.expected})" if option and option.range else ""


def _table(rows: list[str]) -> list[str]:
    return ["| | |", "|---|---|", *rows]


def _plain(text: str) -> str:
    """A help text as it is shown; `commands.group` keeps its brackets from being taken for markup."""
    return text.replace(r"\[", "[")


def _cell(text: str) -> str:
    """A text as Markdown that shows just that, but for `code`."""
    parts = text.split("`")
    shown = [re.sub(r"([*_|\[\]])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(word for pair in zip(shown, [*code, ""], strict=True) for word in pair)
