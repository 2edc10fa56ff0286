"""How the program's commands are put together, told of being stopped, and how their help is written."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from navicache_cli.errors import UsageError
from navicache_cli.files import published
from navicache_cli.interruption import stopped_run


@contextmanager
def _told() -> Iterator[None]:
    """Turn being stopped into an error that says what there is of the work; typer would end without a word.

    Raises:
        InterruptedRunError: Ctrl-C or another signal came, and the command said nothing of it itself.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise stopped_run(published) from None


def _paragraphs(text: str | None) -> str:
    """Return a help text with one line per paragraph."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class Commands(TyperGroup):
    """The commands, which are told when they are stopped: while options are read, and while they run.

    Their help wraps at the terminal's width, and what is in brackets is shown, not taken for rich's markup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in self.commands.values():
            command.help = escape(_paragraphs(command.help))
            for parameter in command.params:
                parameter.help = escape(parameter.help or "")  # type: ignore[attr-defined]

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _told():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _told():
            return super().invoke(ctx)


class Program(typer.Typer):
    """The program: being stopped is told while commands are put together, too."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the program.

        Raises:
            UsageError: click refuses what was typed, such as an unknown flag.
        """
        try:
            with _told():
                return super().__call__(*arguments, **options)
        except Exception as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # No command was given: the help is shown.
                error.show()  # type: ignore[attr-defined]
                return UsageError.exit_code
            if hasattr(error, "format_message"):
                context = getattr(error, "ctx", None)
                command = context.command_path if context else "navicache"
                raise UsageError(error.format_message(), hint=f"{command} --help") from error
            raise
