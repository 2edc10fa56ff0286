"""Runs `navicache` as a user would, and reads what came of it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from typer.testing import CliRunner

from navicache_cli.app import app
from tests import warm
from tests.conftest import clean_environment

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def loaded_script(name: str) -> Iterator[ModuleType]:
    """What a fixture yields from: a program in scripts/ as a module, which can be imported for as long."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their types
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def invoke(*arguments: object) -> str:
    """Standard output of the program, run in this process; an error of ours is raised as it is."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def on_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code of the program run on a pseudo-terminal, and all it showed there."""
    import pty  # POSIX only

    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "navicache_cli", *arguments],
        cwd=folder, env=clean_environment(TERM="xterm-256color", PYTHONIOENCODING="utf-8"),
        stdout=child, stderr=child, stdin=child,
    )  # fmt: skip
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    return process.wait(timeout=60), shown.decode(errors="replace")


def generate(
    folder: Path, *arguments: str, before: str = "", **environment: str
) -> subprocess.CompletedProcess:
    """Run `navicache generate` in a folder, without a GPU; `before` is Python code that runs first."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = clean_environment(PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="", **environment)
    return warm.run("generate", *arguments, cwd=folder, env=environment, before=before)


def report_of(done: subprocess.CompletedProcess) -> dict:
    """The report that a run with --json printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def report_in(path: Path) -> dict:
    """A report as JSON values, read and checked as every command does."""
    from navicache_cli.report.documents import plain
    from navicache_cli.report.report import read_report

    return plain(read_report(path))


def assert_refused(done: subprocess.CompletedProcess, code: int, *told: str) -> None:
    """The program ended with this exit code, said all that is to be told, and what to type next."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    shown = " ".join(done.stderr.split())
    for part in ("try:", *told):
        assert part in shown, shown
