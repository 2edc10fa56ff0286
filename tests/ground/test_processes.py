"""Programs that are run by this one end with it, however it is ended, and so does what they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from navicache_cli.processes import run_program
from tests.conftest import clean_environment
from tests.program import ROOT

RUN = """
import sys
from navicache_cli import processes
from navicache_cli.interruption import stop_on_signals
processes._PATIENCE_S = 0.2
stop_on_signals()
try:
    processes.run_program(["sh", "-c", sys.argv[1]])
except KeyboardInterrupt as stop:
    print(stop)
"""
# Each writes its number, and starts another that does.
POLITE = "echo $$ >> started; sleep 60 & echo $! >> started; wait"
DEAF = f"trap '' TERM INT HUP QUIT; {POLITE}"


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat")
    # One that has ended and that nobody waits for, as in a container without an init, is a zombie.
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_numbers(file: Path, process: subprocess.Popen) -> list[int]:
    """Wait until two processes have written their numbers there."""
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_text().count("\n") < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [int(line) for line in file.read_text().split()]


def wait_for_end(numbers: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(alive, numbers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, numbers))


@pytest.mark.parametrize(
    ("name", "program"), [("SIGINT", POLITE), ("SIGTERM", POLITE), ("SIGHUP", POLITE), ("SIGQUIT", DEAF)]
)
def test_what_was_started_ends_too(tmp_path, name, program):
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, program],
        cwd=tmp_path, env=clean_environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    numbers = wait_for_numbers(tmp_path / "started", process)
    process.send_signal(signal.Signals[name])
    assert process.communicate(timeout=30)[0].strip() == f"stopped by {name}"
    wait_for_end(numbers)


def test_its_output_and_exit_status_are_returned():
    done = run_program(["sh", "-c", "echo out; echo err >&2; exit 3"],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    with pytest.raises(FileNotFoundError):
        run_program(["/nowhere/to/be/found"])
