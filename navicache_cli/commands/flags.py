"""Flags of the options of a plan, and the decorator that gives them to a command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from navicache_cli.plan.option import Option, Use
from navicache_cli.plan.options import OPTIONS, OUTPUT, PANELS
from navicache_cli.values import read_switch

LPIPS_HELP = (
    "Require LPIPS, downloading its weights (233 MiB) if needed, or leave it out.  "
    "[default: used if package and weights are installed]"
)
# Values stay text here: the plan parses flags, environment and files alike, with the same messages.
Text = str | None
Switch = bool | None


def opt(panel: str, text: str, metavar: str | None = None, *names: str) -> Any:
    """Describe an option; without `names` it is called like its parameter."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)


def takes_options(
    leaving_out: Use = Use.NONE,
    names: Collection[str] = (),
    after: Mapping[str, Collection[str]] | None = None,
) -> Callable[[Any], Any]:
    """Let a command take the options of a plan, `--config` and `--set` too, by its parameter `**options`.

    Typer reads a command's signature; this writes one that holds the command's own parameters and then those.
    What the command declares itself is not declared again.

    Args:
        leaving_out: options of these uses make no sense here.
        names: nor do these.
        after: own parameters that follow one of the others, by its name, and do not come first.
    """
    placed = dict(after or {})
    late = {name for own in placed.values() for name in own}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = {
            name: one
            for name, one in signature(command, eval_str=True).parameters.items()
            if one.kind is not Parameter.VAR_KEYWORD
        }
        parameters = [one for name, one in own.items() if name not in late]
        for parameter in _shared(leaving_out, names):
            if parameter.name not in own:
                parameters.append(parameter)
            parameters += [own[name] for name in placed.get(parameter.name, ())]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def _shared(leaving_out: Use, names: Collection[str]) -> list[Parameter]:
    """The parameters of a plan's options, panel by panel, and those of files and `--set`."""
    offered = [
        (name, option)
        for name, option in OPTIONS.items()
        if option.panel and name not in names and not option.use & leaving_out
    ]
    offered.sort(key=lambda row: PANELS.index(row[1].panel))
    return [
        *(_parameter(name, *_described(name, option)) for name, option in offered),
        _parameter("config", Path | None, opt(OUTPUT, "YAML file with options.", "FILE")),
        _parameter(
            "assignments",
            list[str] | None,
            opt(OUTPUT, "Set any option; may be repeated.", "KEY=VALUE", "--set"),
        ),
    ]


def _described(name: str, option: Option) -> tuple[Any, Any]:
    """The type of an option's flag, and what typer is told of it."""
    switch = option.read is read_switch
    dashed = name.replace("_", "-")
    flags = option.flags or ((f"--{dashed}/--no-{dashed}",) if switch else ())
    kind = list[str] | None if option.repeated else Switch if switch else Text
    return kind, opt(option.panel, option.help, option.metavar, *flags)


def _parameter(name: str, kind: Any, description: Any) -> Parameter:
    return Parameter(
        name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Annotated[kind, description]
    )
