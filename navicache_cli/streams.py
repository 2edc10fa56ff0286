"""Standard streams as the whole program wants them: always there, in any encoding, honest when they fail.

The program calls `prepare` at its start and `finish` at its end; in between everything writes to `sys.stdout`
and `sys.stderr` as usual.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys

from navicache_cli.errors import OutputError, ReaderGoneError

# What moves the cursor, rings, or turns the direction of writing: C0 and C1 but the tab, bidirectional marks,
# separators of lines; and halves of characters, which bytes of a name that is no text are read as.
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_PLAIN = {"→": "->", "…": "...", "×": "x", "−": "-", "±": "+-", "≥": ">=", "≈": "~"}


def visible(text: str, keep: str = "") -> str:
    r"""Return text with its control characters escaped, such as `\x1b`, but for those in `keep`."""
    return _CONTROLS.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text
    )


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Encode one character that an encoding lacks: a byte of a file's name as it is, others as `\u2192`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, end = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff" and not error.encoding.startswith(("utf-16", "utf-32")):
        return bytes([ord(character) - 0xDC00]), end
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode(), end


codecs.register_error("navicache", _replace)


class _Output(io.TextIOWrapper):
    """Standard output or error, which never fails by a character that its encoding lacks.

    Once it cannot be written, the rest goes nowhere, so that nothing fails again while the program ends. On
    standard output this is an error; on standard error there is nobody left to tell, and the work goes on.
    """

    def __init__(self, stream: io.TextIOWrapper, required: bool) -> None:
        encoding, lines, through = stream.encoding, stream.line_buffering, stream.write_through
        super().__init__(stream.detach(), encoding, "navicache", line_buffering=lines, write_through=through)
        self._required = required

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if not self._required:
            return
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from None
        raise OutputError(
            f"cannot write to standard output: {error.strerror}",
            "run it again into a file or a pipe that takes it; what was written elsewhere stays",
        ) from None


def prepare() -> None:
    """Set up the standard streams; see `_Output`.

    A descriptor that is missing is opened first, or the next file opened would get its number, and with it
    everything that is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The wrong way round, so that reading from or writing to what was closed fails; only messages may
            # be lost.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_WRONLY)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            made = _Output(stream, required=name == "stdout")
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)
    if os.environ.get("COLUMNS") == "0":  # in which rich would show nothing at all
        del os.environ["COLUMNS"]


def finish() -> None:
    """Write out what is buffered.

    Raises:
        OutputError: standard output cannot be written.
        ReaderGoneError: its reader went away.
    """
    sys.stdout.flush()
    sys.stderr.flush()
