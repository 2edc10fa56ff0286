"""The package `vbench`: where it is, and what it says of one dimension."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navicache_cli.errors import BackendError
from navicache_cli.processes import run_program
from navicache_cli.reading import parse_json, read_json

_PROGRAM = Path(__file__).with_name("run_vbench.py")


@dataclass(frozen=True)
class VBench:
    """An installed package.

    Attributes:
        python: the Python that has it.
        version: of the package.
        prompts: its list of prompts.
    """

    python: str
    version: str
    prompts: Path


@dataclass(frozen=True)
class Verdict:
    """What vbench says of one dimension.

    Attributes:
        score: of the dimension, not yet normalised.
        videos: of each video that it names, by file name; in the dimension's own unit.
        seconds: how long it took.
    """

    score: float
    videos: dict[str, float]
    seconds: float


def find_vbench(python: str | None) -> VBench:
    """Find the package in a Python, this one if none is named; it is not imported.

    Raises:
        BackendError: it is not there.
    """
    python = python or sys.executable
    try:
        done = run_program(
            [python, str(_PROGRAM), "find"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = parse_json(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError) as error:
        raise BackendError(
            f"expected a Python that has vbench; {python} cannot be run: {error}", "check --vbench-python"
        ) from None
    if not found:
        raise BackendError(
            f"expected the package vbench in {python}; found none",
            "pip install 'navicache[vbench]', or elsewhere: --vbench-python ENV/bin/python",
        )
    return VBench(python, found["version"], Path(found["prompts"]))


def score_dimension(vbench: VBench, dimension: str, prompts: Path, videos: Path, work: Path) -> Verdict:
    """Let vbench score one dimension.

    Args:
        vbench: the package.
        dimension: its name.
        prompts: the list of prompts, as VBench has it.
        videos: the folder of videos.
        work: a folder for what vbench writes, and its log.

    Raises:
        BackendError: it failed; the log says why.
    """
    work.mkdir(parents=True, exist_ok=True)
    results, log = work / f"{dimension}_eval_results.json", work / f"{dimension}.log"
    results.unlink(missing_ok=True)
    command = [vbench.python, str(_PROGRAM), "score", dimension]
    since = time.perf_counter()
    with log.open("wb") as talk:
        code = run_program(
            [*command, *(str(path.resolve()) for path in (prompts, videos, work))],
            stdout=talk, stderr=subprocess.STDOUT,
        ).returncode  # fmt: skip
    seconds = time.perf_counter() - since
    if code:
        raise BackendError(
            f"vbench could not score {dimension} (exit status {code}): {_last_line(log)}",
            f"see {log}; what is scored is kept",
        )
    return Verdict(*_read(results, dimension, log), seconds)


def _read(results: Path, dimension: str, log: Path) -> tuple[float, dict[str, float]]:
    """Read what vbench wrote: by dimension, the score and a list with one row per video."""
    try:
        score, rows = read_json(results)[dimension][:2]
        videos = {Path(row["video_path"]).name: _number(row["video_results"]) for row in rows}
        return _number(score), videos
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise BackendError(
            f"expected a score of {dimension} from vbench; found none in {results}", f"see {log}"
        ) from None


def _number(value: Any) -> float:
    number = float(value)  # dynamic_degree says true or false
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
