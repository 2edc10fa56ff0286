"""Shared helpers: run the real command line, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import warm
from tests.comparison import PROMPTS, Made, arguments

# Their assertions, when they fail, show values as those of tests do.
pytest.register_assert_rewrite("tests.program", "tests.doubles.double", "tests.repos.following")

Cli = Callable[..., subprocess.CompletedProcess]
# Measured changes of input and output, a CSV as `navicache plot` reads it; not part of this repository.
MEASURED = Path(
    os.environ.get("NAVICACHE_MEASURED_PAIRS") or Path(__file__).parents[2] / "shared/data/feature_change.csv"
)


def clean_environment(**extra: str) -> dict[str, str]:
    """What tests began with, without settings that would change what navicache does."""
    dropped = ("NAVICACHE_", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in warm.ENVIRONMENT.items() if not name.startswith(dropped)}
    return {**kept, "COLUMNS": "120", **extra}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `navicache` with arguments in an empty folder; returns the finished process."""

    def run(*arguments: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
        options = {"cwd": tmp_path, "timeout": 120, **options}
        return warm.run(*arguments, env=clean_environment(**(env or {})), **options)

    return run


@pytest.fixture
def put_module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Put a module with the given names among the loaded ones until the test ends, and return it."""

    def put(name: str, **names: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(names)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    return put


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small comparison, made once by the real program. Read only: see `copied`."""
    root = tmp_path_factory.mktemp("comparison")
    prompts = root / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n")
    done = warm.run(*arguments(root / "out", prompts), cwd=root, env=clean_environment())
    assert done.returncode == 0, done.stderr
    return Made(root / "out", json.loads(done.stdout), done.stderr)


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """The prompts of `comparison`, a line each."""
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n")
    return path


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a folder, to change it."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="pip install playwright, and playwright install chromium"
    )
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: playwright install chromium, or apt-get install chromium")
        # Containers have no user namespaces for the sandbox; the page is our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
