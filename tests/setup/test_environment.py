"""`navicache setup --venv` and what enters its environment, with a stand-in for uv."""

from __future__ import annotations

import json
import os
import shlex
import sys

import pytest

from tests.doubles.double import Double
from tests.machine import Machine, commit_files, importable_files
from tests.program import assert_refused

# Makes environments whose navicache runs in this Python, and notes what else it is asked for.
UV = f"""#!/bin/sh
echo "$@" >>"$UV_CALLS"
[ -z "$UV_FAILS" ] || exit 1
for place; do :; done
if [ "$1" = venv ]; then
    mkdir -p "$place/bin"
    printf '#!/bin/sh\\nexec {sys.executable} -m navicache_cli "$@"\\n' >"$place/bin/navicache"
    chmod +x "$place/bin/navicache"
fi
"""
QUICK = ("--weights", "random-small", "--frames", "1", "--steps", "3", "--mode", "off", "--json")


@pytest.fixture
def machine(tmp_path):
    """A machine with uv and the packages of wan."""
    made = Machine(tmp_path)
    made.entry_point("wan", "backends.wan:WanBackend")
    made.give_packages("wan")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o755)
    made.environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "UV_CALLS": str(tmp_path / "calls"),
    }  # fmt: skip
    return made


@pytest.fixture
def setup(machine):
    """Run `navicache setup wan` from a mirror."""
    commit = commit_files(machine.root / "mirror", importable_files("wan"))

    def run(*arguments, **environment):
        url = str(machine.root / "mirror")
        return machine.run("setup", "wan", "--repo-url", url, "--commit", commit, *arguments, **environment)

    return run


def place_of(machine):
    return machine.root / "cache/navicache/environments/wan"


def calls(machine):
    path = machine.root / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_an_environment_is_made_and_used(machine, setup):
    done = setup("--venv")
    assert done.returncode == 0, done.stderr
    place = place_of(machine)
    made, installed = calls(machine)
    assert made.startswith("venv --seed")
    assert made.endswith(str(place))
    assert f"--python {place}/bin/python" in installed
    assert "torch==" in installed, "the same as here"
    assert "ok Python environment of wan" in done.stdout
    assert "ok Wan2.1 at commit" in done.stdout, "all else is done in it"
    again = setup("--venv")
    assert "nothing was changed" in again.stdout
    assert len(calls(machine)) == 2
    rows = machine.run("doctor", "--model", "wan", "--json", NAVICACHE_WEIGHTS="random-small").stdout
    rows = {row["name"]: row["found"] for row in json.loads(rows)["checks"]}
    assert rows["environment"] == f"Python packages of the environment {place}"
    (machine.root / "work/prompt.txt").write_text("a cat")
    code = ("--repo", str(Double("wan").path))
    process = machine.run("generate", "--model", "wan", *code, *QUICK, "--prompt-file", "prompt.txt")
    assert process.returncode == 0, process.stderr
    assert f"Python packages of the environment {place}" in json.loads(process.stdout)["notes"]
    assert f"environment {place}" in " ".join(process.stderr.split())


def test_other_models_do_not_enter_it(machine, setup):
    assert setup("--venv").returncode == 0
    program = place_of(machine) / "bin/navicache"
    program.write_text("#!/bin/sh\nexit 77\n")
    assert machine.run("generate", "--dry-run").returncode == 0
    assert machine.run("generate", "--dry-run", "--model", "wan").returncode == 77
    assert machine.run("generate", "--dry-run", "--set", "model=wan").returncode == 77
    assert machine.run("compare", "--model", "wan").returncode == 77
    assert machine.run("schedule", "--model", "wan").returncode == 77
    assert setup().returncode == 77, "without --venv too, once there is one"
    wan = next(line for line in machine.run("doctor").stdout.splitlines() if line.startswith("wan"))
    assert "missing: environment" in wan


def test_a_dry_run_shows_the_commands(machine, setup):
    planned = setup("--venv", "--weights", "Wan2.1-T2V-1.3B", "--dry-run").stdout.splitlines()
    assert planned[0] == "# Python environment of wan"
    assert " venv --seed --allow-existing " in planned[1]
    asked = [f"{place_of(machine)}/bin/navicache", "setup", "wan", "--repo-url", str(machine.root / "mirror")]
    assert shlex.split(planned[4])[:5] == asked
    assert shlex.split(planned[4])[5::2] == ["--commit", "--weights"]
    programs = machine.root / "bin/uv"
    programs.unlink()
    planned = setup("--venv", "--dry-run", PATH="/usr/bin").stdout.splitlines()
    assert planned[1] == f"{sys.executable} -m venv {place_of(machine)}"
    assert planned[2].startswith(f"{place_of(machine)}/bin/python -m pip install ")
    assert not (machine.root / "cache").exists()


def test_a_failed_environment_is_not_entered(machine, setup):
    assert_refused(setup("--venv", UV_FAILS="1"), 3, "cannot make the environment", "uv ended with 1")
    assert machine.run("generate", "--dry-run", "--model", "wan").returncode == 0
    assert setup("--venv").returncode == 0, "another try takes what is there"
