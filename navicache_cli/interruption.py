"""Being stopped: Ctrl-C, and the signals by which terminals, schedulers and `kill` end a program.

All of them end the program the way Ctrl-C does: as a KeyboardInterrupt that passes through every clean-up.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from navicache_cli.errors import InterruptedRunError

_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


# How many blocks are to be finished first, and the signal that came meanwhile.
_held = 0
_pending = 0


def stop_on_signals() -> None:
    """From now on raise `Stopped` on a signal, in the main thread; one that is ignored stays so (nohup)."""
    for number in _NUMBERS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish the block before a signal is heard; for the few lines that must happen together or not at all.

    Without `stop_on_signals`, as for users of the library, this does nothing.
    """
    global _held, _pending
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if not _held and _pending:
            number, _pending = _pending, 0
            raise Stopped(number)


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code that shells expect: 128 and the number of the signal; Ctrl-C is 130.

    Args:
        error: an interruption, or an error raised while one was handled.
    """
    while error is not None:
        if isinstance(error, Stopped):
            return 128 + error.number
        error = error.__context__
    return 128 + signal.SIGINT


def _stop(number: int, _: FrameType | None) -> None:
    global _pending
    if _held:
        _pending = number
    else:
        raise Stopped(number)


def stopped_run(published: Sequence[Path]) -> InterruptedRunError:
    """Return the error of a run that was stopped.

    Args:
        published: what it had written by then, complete and under its name.
    """
    if not published:
        return InterruptedRunError(
            "stopped before anything was finished; nothing was written", "run the same command again"
        )
    names = ", ".join(map(str, published[-3:]))
    more = f" and {len(published) - 3} more" if len(published) > 3 else ""
    return InterruptedRunError(
        f"stopped after {names}{more} had been written; that is complete",
        "run the same command again for what is missing",
    )
