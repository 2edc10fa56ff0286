"""One declaration of options for several commands."""

from __future__ import annotations

from collections.abc import Callable, Collection
from inspect import Parameter, Signature, signature
from typing import Any


def takes_options_of(source: Callable[..., Any], leaving_out: Collection[str]) -> Callable[[Any], Any]:
    """Let a command take another command's options too, by its parameter `**options`.

    Typer reads a command's signature; this writes one that holds the command's own parameters and then those
    of `source`, so that an option is declared once, whatever it is offered by.

    Args:
        source: the command that declares them.
        leaving_out: parameters of `source` that make no sense here; those that the command declares itself
            are left out anyway.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = signature(command, eval_str=True).parameters.values()
        own_names = {parameter.name for parameter in own}
        shared = [
            parameter
            for parameter in signature(source, eval_str=True).parameters.values()
            if parameter.name not in own_names and parameter.name not in leaving_out
        ]
        parameters = [*(one for one in own if one.kind is not Parameter.VAR_KEYWORD), *shared]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate
