"""Other programs that this one runs, and that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from navicache_cli.interruption import uninterrupted

_PATIENCE_S = 3.0  # for a program to end by itself once it is asked to


def run_program(
    command: Sequence[str], given: str | None = None, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end; when this one is stopped meanwhile, it ends too, with all that it started.

    It gets a session of its own, so that Ctrl-C reaches this program alone, whichever way it was stopped.

    Args:
        command: the program and its arguments.
        given: text for its standard input, which is empty otherwise.
        options: of `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    process = None
    try:
        with uninterrupted():
            source = subprocess.DEVNULL if given is None else subprocess.PIPE
            process = subprocess.Popen(command, stdin=source, start_new_session=True, **options)
        output, complaint = process.communicate(given)
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, complaint)


def _end(process: subprocess.Popen[Any]) -> None:
    """Ask a program and its children to end; after a while, kill them."""
    with uninterrupted(), process:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    with suppress(OSError):  # They have all ended.
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:  # Windows knows no groups of this kind.
            process.terminate()
