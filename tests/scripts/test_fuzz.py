"""scripts/fuzz.py: some hostile calls break no promise, and a broken one would be seen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.fuzzing.calls import Call
from scripts.fuzzing.faults import faults
from scripts.fuzzing.forked import Outcome
from tests.conftest import clean_environment
from tests.program import SCRIPTS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; run it on Linux")


@pytest.mark.parametrize("count", [40, pytest.param(250, marks=pytest.mark.slow)])
def test_hostile_calls_break_no_promise(tmp_path, count):
    options = ["--count", str(count), "--seed", "0", "--seconds", "240"]
    command = [sys.executable, str(SCRIPTS / "fuzz.py"), *options]
    environment = clean_environment()
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


BEFORE = {"scene.txt": ("-", "1"), "batch/manifest.jsonl": ("-", "2")}


def outcome(code=0, out="", err="", **other):
    facts = {"seconds": 1.0, "late": False, "memory": 0, "unhandled": "", "survivors": [], **other}
    return Outcome(code, out.encode(), err.encode(), **facts)


def broken(found, *words, after=BEFORE, left=(), **call):
    return set(faults(Call(0, "generate", list(words), **call), found, BEFORE, after, list(left)))


FAILED = "error: steps expects a whole number, found 'x'\ntry: set it with --steps\n"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), outcome()),
        ((), outcome(2, err=FAILED)),
        ((), outcome(141)),
        (("no next step",), outcome(2, err="error: steps\n")),
        (("no error line",), outcome(2, err="it did not work\n")),
        (("two errors",), outcome(2, err=FAILED + FAILED)),
        (("traceback", "exit code", "no error line"), outcome(1,
         err='Traceback (most recent call last):\n  File "x"')),
        (("traceback", "exit code"), outcome(1, err=FAILED,
         unhandled="Traceback (most recent call last)\nE: x")),
        (("traceback", "exit code"), outcome(1, err=FAILED.replace("steps", "internal error: steps"))),
        (("exit code",), outcome(-11, err=FAILED)),
        (("time",), outcome(-9, late=True, seconds=31.0)),
        (("memory",), outcome(memory=2 << 30)),
        (("controls",), outcome(2, err=FAILED.replace("'x'", "\x1b]0;x\x07"))),
        (("controls",), outcome(2, err=FAILED.replace("'x'", "\u202e"))),
        (("processes",), outcome(survivors=["ffmpeg"])),
    ],
)  # fmt: skip
def test_a_broken_promise_is_seen(names, found):
    assert broken(found) == set(names)


def test_json_is_one_document():
    assert broken(outcome(out='{"a": 1}'), "--json") == set()
    for out in ("", "tiny: step 1\n{}", '{"a": NaN}'):
        assert broken(outcome(out=out), "--json") == {"json"}


def test_colours_on_a_terminal_are_no_controls():
    drawn = "\x1b[1;31merror: \x1b[0mno\r\n\x1b[1mtry: \x1b[0myes\x1b[?25h\r\n"
    assert broken(outcome(2, out=drawn), stdout="terminal", stderr="terminal") == set()
    assert broken(outcome(2, out=drawn.replace("no", "\x1bc")), stdout="terminal", stderr="terminal") == {
        "controls"
    }


def test_files_left_lost_or_changed_are_seen():
    made = {**BEFORE, "videos/a.mp4": ("-", "3")}
    assert broken(outcome(), after=made) == set()
    assert broken(outcome(2, err=FAILED), after=made) == {"files"}
    assert broken(outcome(), after={**BEFORE, "videos/.a.part.mp4": ("-", "3")}) == {"files"}
    assert broken(outcome(), after={"scene.txt": ("-", "1")}) == {"files"}
    assert broken(outcome(), after={**BEFORE, "scene.txt": ("-", "9")}) == {"files"}
    assert broken(outcome(), left=["tmp1"]) == {"files"}
