"""A Python that has the double of the package vbench, and videos for its prompts."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np

from navicache_cli.media.video import write_video

DOUBLES = Path(__file__).parent / "doubles"
INFO = DOUBLES / "vbench_package/vbench/VBench_full_info.json"
PROMPTS = list(dict.fromkeys(entry["prompt_en"] for entry in json.loads(INFO.read_text())))


def python_with_vbench(folder: Path, *, quick: bool = True, **environment: str) -> Path:
    """Write a program that is this Python with vbench's double, and return its path.

    Args:
        folder: where it goes, and the file `calls` with a line for each dimension scored.
        quick: with a double of torch as well.
        environment: further variables, for the double.
    """
    paths = [DOUBLES / "vbench_package", *([DOUBLES / "quick_torch"] if quick else [])]
    variables = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "VBENCH_CALLS": str(folder / "calls"), **environment
    }  # fmt: skip
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    program = folder / "python with vbench"
    program.write_text(f'#!/bin/sh\n{" ".join(words)} exec {shlex.quote(sys.executable)} "$@"\n')
    program.chmod(0o755)
    return program


def calls(folder: Path) -> list[str]:
    """The dimensions that vbench's double was called for, in order."""
    file = folder / "calls"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def make_videos(folder: Path, per_prompt: int = 1) -> Path:
    """Write `{prompt}-{n}.mp4` for all prompts of the double, and return the folder."""
    folder.mkdir(parents=True)
    for number, prompt in enumerate(PROMPTS):
        for n in range(per_prompt):
            frames = np.random.default_rng([number, n]).integers(0, 255, (3, 32, 48, 3)).astype(np.uint8)
            write_video(frames, folder / f"{prompt}-{n}.mp4", 8, {})
    return folder
