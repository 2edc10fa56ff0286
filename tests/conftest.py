"""Shared helpers: run the real command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess]
# Measured changes of input and output, a CSV as `navicache plot` reads it; not part of this repository.
MEASURED = Path(
    os.environ.get("NAVICACHE_MEASURED_PAIRS") or Path(__file__).parents[2] / "shared/data/feature_change.csv"
)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without settings that would change what navicache does."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NAVICACHE_", "FORCE_COLOR", "COLUMNS"))}
    return {**kept, "COLUMNS": "120", **extra}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `navicache` with arguments in an empty folder; returns the finished process."""

    def run(*arguments: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "navicache_cli", *arguments],
            cwd=options.pop("cwd", tmp_path),
            env=clean_environment(**(env or {})),
            capture_output=True,
            text=options.pop("text", True),
            timeout=options.pop("timeout", 120),
            check=False,
            **options,
        )

    return run
