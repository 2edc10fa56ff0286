"""One call in a fork of a process that has imported torch: what it said, left and took.

The child is made to look like a new interpreter: standard streams by their descriptors and the environment's
encoding, a missing descriptor as None, and at the end what an interpreter does at its own end.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import io
import os
import pty
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .calls import Call

SECONDS = 30
MEMORY = 1 << 30  # bytes that a call may have resident beyond what it starts with
ADDRESSES = 6 << 30  # bytes of address space beyond that: where a call gets a MemoryError
LARGEST_FILE = 256 << 20
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Outcome:
    """What came of a call.

    Attributes:
        code: exit code; the negative number of the signal that ended it.
        stdout, stderr: what was written there; on a terminal, all is in stdout.
        seconds: by the clock; `late` when it was ended for that.
        memory: bytes resident at most, beyond those at the start.
        unhandled: the traceback of an exception that nobody caught, or "".
        survivors: command lines of processes that were left running.
    """

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    late: bool
    memory: int
    unhandled: str
    survivors: list[str]


def adopt_orphans() -> None:
    """Become the parent of what a call leaves running, to find it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(call: Call, folder: Path, environment: dict[str, str]) -> Outcome:
    """Run a call in its folder."""
    with contextlib.ExitStack() as stack:
        out, err, told = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        parent = child = -1
        if "terminal" in (call.stdout, call.stderr):
            parent, child = pty.openpty()
        started = time.perf_counter()
        before = _resident()
        pid = os.fork()
        if pid == 0:
            code = 99  # of a fault of this file
            try:
                _become(call, folder, environment, {1: out.fileno(), 2: err.fileno()}, child)
                code, unhandled = _call()
                told.write(unhandled.encode(errors="backslashreplace"))
                told.flush()
            except BaseException:
                told.write(traceback.format_exc().encode())
                told.flush()
            finally:
                os._exit(code)
        if child >= 0:
            os.close(child)
        screen, status, usage, late = _wait(pid, parent, started)
        seconds = time.perf_counter() - started
        if parent >= 0:
            os.close(parent)
        survivors = _end_children()
        texts = []
        for file in (out, err, told):
            file.seek(0)
            texts.append(file.read())
        return Outcome(
            os.waitstatus_to_exitcode(status), texts[0] + screen, texts[1], seconds, late,
            usage.ru_maxrss * 1024 - before, texts[2].decode(), survivors,
        )  # fmt: skip


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _wait(pid: int, terminal: int, started: float) -> tuple[bytes, int, resource.struct_rusage, bool]:
    """Wait for a child, and read what it shows on its terminal."""
    screen, late = b"", False
    while True:
        if terminal >= 0:
            while select.select([terminal], [], [], 0)[0]:
                try:
                    part = os.read(terminal, 65536)
                except OSError:  # how Linux says that the other end is closed
                    break
                screen += part
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            if terminal >= 0:
                with contextlib.suppress(OSError):
                    while select.select([terminal], [], [], 0)[0] and (part := os.read(terminal, 65536)):
                        screen += part
            return screen, status, usage, late
        if not late and time.perf_counter() - started > SECONDS:
            late = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.004)


def _end_children() -> list[str]:
    """End what the call left running; a moment is given to what is about to end."""
    found: list[str] = []
    for attempt in range(100):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return found
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if attempt == 50:
            for child in children:
                with contextlib.suppress(OSError):
                    found.append(Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")[:200])
                    os.kill(int(child), signal.SIGKILL)
        time.sleep(0.01)
    return found


def _become(
    call: Call, folder: Path, environment: dict[str, str], files: dict[int, int], terminal: int
) -> None:
    """Turn this process into one that was just started with a call's arguments and surroundings."""
    atexit._clear()  # what the parent would do at its own end
    os.setsid()
    os.chdir(folder)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = {"RLIMIT_AS": ADDRESSES, "RLIMIT_FSIZE": LARGEST_FILE, "RLIMIT_CORE": 0, **call.limits}
    limits["RLIMIT_AS"] += size
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))
    os.environ.clear()
    os.environ.update(environment | call.environment)
    tempfile.tempdir = None
    _place(0, call.stdin, -1, terminal)
    _place(1, call.stdout, files[1], terminal)
    _place(2, call.stderr, files[2], terminal)
    encoding, errors = encoding_of(os.environ)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        with contextlib.suppress(OSError):
            raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
            stream = io.TextIOWrapper(
                raw,
                encoding=encoding, errors="backslashreplace" if number == 2 else errors,
                line_buffering=number == 2 or os.isatty(number),
            )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["navicache", *call.arguments]


def _place(number: int, kind: str, file: int, terminal: int) -> None:
    """Put a file in the place of a standard stream."""
    if kind == "closed":
        os.close(number)
        return
    if kind == "broken":
        reader, source = os.pipe()
        os.close(reader)
    elif kind == "text":
        reader, source = os.pipe()
        os.write(source, b"a red circle moving right\n")
        os.close(source)
        source = reader
    elif kind in ("terminal", "file"):
        source = os.dup(terminal if kind == "terminal" else file)
    else:
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY
        source = os.open({"full": "/dev/full", "zero": "/dev/zero", "null": "/dev/null"}[kind], flags)
    os.dup2(source, number)
    os.close(source)


def encoding_of(environment: Mapping[str, str]) -> tuple[str, str]:
    """Encoding of the standard streams, and what happens to characters that it lacks."""
    if chosen := environment.get("PYTHONIOENCODING"):
        name, _, errors = chosen.partition(":")
        return name, errors or "strict"
    if environment.get("LC_ALL") == "C" and environment.get("PYTHONUTF8") == "0":
        return "ascii", "surrogateescape"
    return "utf-8", "strict"


def _call() -> tuple[int, str]:
    """Call the program; return its exit code and the traceback of what it did not catch."""
    unhandled = ""
    try:
        from navicache_cli.app import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        code, unhandled = 1, traceback.format_exc()
    atexit._run_exitfuncs()
    # An interpreter that cannot write what is left over says so on standard error and exits with 120.
    for name in ("stdout", "stderr"):
        try:
            if (stream := getattr(sys, name)) is not None:
                stream.flush()
        except Exception as error:
            unhandled += f"Exception ignored while flushing {name}: {error!r}"
            code = 120
    return code & 0xFF, unhandled
