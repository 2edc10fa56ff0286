"""Runs `navicache generate` as a user would, in a process of its own, and reads what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import clean_environment

ROOT = Path(__file__).parents[1]


def generate(
    folder: Path, *arguments: str, before: str = "", **environment: str
) -> subprocess.CompletedProcess:
    """Run `navicache generate` in a folder, without a GPU; `before` is Python code that runs first."""
    start = f"{before}\nimport navicache_cli.app\nnavicache_cli.app.main()"
    program = ["-c", start] if before else ["-m", "navicache_cli"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *program, "generate", *arguments],
        cwd=folder, env=clean_environment(PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="", **environment),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def report_of(done: subprocess.CompletedProcess) -> dict:
    """The report that a run with --json printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_refused(done: subprocess.CompletedProcess, code: int, *told: str) -> None:
    """The program ended with this exit code, said all that is to be told, and what to type next."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    shown = " ".join(done.stderr.split())
    for part in ("try:", *told):
        assert part in shown, shown
