"""What the user sees: progress while steps run, the strip of steps, tables, and errors.

Progress and errors go to standard error, results to standard output, so that output can be piped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from navicache_cli.errors import NavicacheError
from navicache_cli.streams import visible

if TYPE_CHECKING:
    from navicache_cli.cache import StepRecord

_Bar = TypeVar("_Bar", bound="ProgressBar")


class SafeConsole(Console):
    """A console that shows text as it is: no markup or emoji codes in it, control characters escaped.

    Names, prompts, settings, files and other libraries' messages reach the terminal through here. Styles are
    given as `Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render without control characters, but for what rich itself draws with."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show a spinner that the terminal's encoding has, and text as it is."""
        shown = Text(visible(status)) if isinstance(status, str) else status
        return super().status(shown, **{"spinner": "dots" if _has_unicode(self) else "line", **options})

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print one line that is never broken; a part may be text and its style."""
        shown = [visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts]
        self.print(Text.assemble(*shown), soft_wrap=True)


stdout = SafeConsole()
stderr = SafeConsole(stderr=True)


def _has_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def show_path(path: str | Path) -> None:
    """Print where a result is: for a pipe as it is, on a terminal with control characters escaped."""
    if stdout.is_terminal:
        stdout.say(str(path))
    else:
        print(path)


def strip(computed: list[bool], console: Console) -> Text:
    """Draw steps as a row of cells: full where the model ran, light where its output was predicted."""
    full, light = ("█", "░") if _has_unicode(console) else ("#", ".")
    text = Text()
    for ran in computed:
        text.append(full if ran else light, style="cyan" if ran else "dim")
    return text


class ProgressBar:
    """A bar that a terminal shows inside a `with` block; elsewhere, or if quiet, it is disabled."""

    def __init__(self, *columns: ProgressColumn, quiet: bool = False) -> None:
        self._bar = Progress(
            *columns, console=stderr, disable=quiet or not stderr.is_terminal, transient=True
        )

    def __enter__(self: _Bar) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()


class StepProgress(ProgressBar):
    """A progress bar of one generation: step, skips, time left, and the strip of steps so far.

    Without a terminal it prints a line at each tenth of the way instead.
    """

    def __init__(self, title: str, steps: int, quiet: bool) -> None:
        self._title, self._steps, self._quiet = title, steps, quiet
        self._computed: list[bool] = []
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}  {task.fields[skips]} skipped"),
            TimeRemainingColumn(), TextColumn("{task.fields[strip]}"),
        )  # fmt: skip
        super().__init__(*columns, quiet=quiet)
        self._task = self._bar.add_task(title, total=steps, skips=0, strip=Text())

    def __call__(self, record: StepRecord) -> None:
        """Show one more finished step."""
        self._computed.append(record.computed)
        done, skips = len(self._computed), self._computed.count(False)
        if not self._bar.disable:
            cells = strip(self._computed, stderr)
            self._bar.update(self._task, completed=done, skips=skips, strip=cells)
        elif not self._quiet and (done == self._steps or done % max(1, self._steps // 10) == 0):
            stderr.say(f"{self._title}: step {done}/{self._steps}, {skips} skipped")


def show_error(error: NavicacheError) -> None:
    """Print an error as a cause and a next step."""
    stderr.say(("error: ", "bold red"), error.message)
    if error.hint:
        stderr.say(("try: ", "bold"), error.hint)


def show_note(note: str) -> None:
    """Print something worth knowing that is not an error."""
    stderr.say(("note: ", "yellow"), note)
