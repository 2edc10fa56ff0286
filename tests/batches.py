"""Batches as the tests make them: short videos by the real program, and what is found in their folders."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tests import warm
from tests.conftest import clean_environment

PROMPTS = ("a red circle moving right", "a blue star growing", "a green ring still on a dark background")
# Of four steps the third is skipped, whatever the weights: two run before there is a ratio, the last always.
SHORT = ("--steps", "4", "--align-steps", "1", "--threshold", "1000")
QUICK = (*SHORT, "--name", "{prompt}-{n}.mp4", "--seeds", "2", "--output-dir", "out")
NAMES = [f"{prompt}-{n}.mp4" for prompt in PROMPTS for n in (0, 1)]
PROGRAM = [sys.executable, "-m", "navicache_cli"]


def run(folder: Path, *arguments: str, code: str = warm.PROGRAM) -> subprocess.CompletedProcess:
    """Run the program, or code that does so, in a folder until it ends."""
    return warm.python(code, *arguments, cwd=folder, env=clean_environment())


def start(folder: Path, *arguments: str, **options) -> subprocess.Popen:
    """Start a batch of prompts.txt in a folder."""
    options = {"env": clean_environment(), **options}
    return subprocess.Popen(
        [*PROGRAM, "batch", "prompts.txt", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for(process: subprocess.Popen, told: str) -> None:
    """Wait until the program says something on standard error."""
    for line in process.stderr:
        if told in line:
            return
    raise AssertionError(f"the program ended before it said {told!r}")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def records(folder: Path) -> list[dict]:
    """The whole lines of all manifests; the last of one that is being written may not be."""
    return [
        json.loads(line)
        for path in folder.glob("manifest*.jsonl")
        for line in path.read_text().split("\n")[:-1]
    ]


def done_names(folder: Path) -> list[str]:
    """The video of each record of a finished one."""
    return sorted(record["name"] for record in records(folder) if record["state"] == "done")
