"""tests/warm.py: a fork is a process of its own, and is none where only a fresh interpreter would do."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests import warm
from tests.conftest import clean_environment

TELL = """
import os, sys
print(os.getcwd(), os.environ["NAVICACHE_SEED"], sys.argv[1:], sys.stdin.read(), "torch" in sys.modules)
print("said", file=sys.stderr)
sys.exit(7)
"""


def test_a_fork_has_surroundings_of_its_own(tmp_path):
    environment = clean_environment(NAVICACHE_SEED="3")
    done = warm.python(TELL, "one", "é", cwd=tmp_path, env=environment, input="given")
    assert done.stdout == f"{tmp_path} 3 ['one', 'é'] given True\n"
    assert (done.stderr, done.returncode) == ("said\n", 7)
    assert "NAVICACHE_SEED" not in os.environ


def test_it_fails_as_an_interpreter_does(tmp_path):
    done = warm.python("1 / 0", cwd=tmp_path, env=clean_environment())
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    killed = warm.python("import os; os.kill(os.getpid(), 9)", cwd=tmp_path, env=clean_environment())
    assert killed.returncode == -9


def test_one_that_takes_too_long_is_killed(tmp_path):
    before = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        warm.python("import time; time.sleep(60)", cwd=tmp_path, env=clean_environment(), timeout=0.2)
    assert time.monotonic() - before < 30


def test_what_an_interpreter_reads_as_it_starts_gets_a_fresh_one(tmp_path):
    tell = "import sys; print(sys.flags.dev_mode, 'torch' in sys.modules)"
    done = warm.python(tell, cwd=tmp_path, env=clean_environment(PYTHONDEVMODE="1"))
    assert done.stdout == "True False\n"


def test_a_copy_of_the_program_is_run_by_a_fresh_one(tmp_path):
    (tmp_path / "navicache_cli").mkdir()
    (tmp_path / "navicache_cli/__init__.py").touch()
    (tmp_path / "navicache_cli/__main__.py").write_text("print('another')")
    environment = clean_environment(PYTHONPATH=str(tmp_path))
    done = warm.run("--version", cwd=tmp_path.parent, env=environment)
    assert done.stdout == "another\n"


def test_what_a_library_sets_as_it_is_imported_needs_no_fresh_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ANY_LIBRARY", "set")
    done = warm.python("import sys; print('torch' in sys.modules)", cwd=tmp_path, env=clean_environment())
    assert done.stdout == "True\n"
