"""The digest of the code that cells are keyed by: what changes it, and that it is the same everywhere."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from backends.registry import get_backend
from navicache_cli import sources
from navicache_cli.compare import code
from navicache_cli.compare.code import PARTS, code_digest
from navicache_cli.evaluation.store import MEASURING
from tests.program import ROOT

PACKAGES = ("navicache_cli", "backends", "presets")
TINY = get_backend("tiny")


def copy_sources(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=unwanted)
    return folder


def read_from(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (code, sources):
        monkeypatch.setattr(module, "files", lambda name: root / getattr(name, "__name__", name))


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of the sources, which is what is digested."""
    root = copy_sources(tmp_path / "copy")
    read_from(root, monkeypatch)
    return root


def test_all_parts_are_there():
    assert [part for part in (*PARTS, *MEASURING) if not (ROOT / "navicache_cli" / part).exists()] == []


def test_another_place_and_other_line_ends_are_the_same_code(copy):
    here = code_digest(TINY)
    for path in copy.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert code_digest(TINY) == here


@pytest.mark.parametrize(
    "name",
    [
        "navicache_cli/cache/policies/gate.py", "navicache_cli/cache/policies/added.py",
        "navicache_cli/run/runner.py", "navicache_cli/media/fidelity.py", "navicache_cli/compare/runners.py",
        "backends/tiny/model.py", "backends/official/attention.py", "presets/magcache-tiny.json",
    ],
)  # fmt: skip
def test_code_that_decides_changes_the_digest(copy, name):
    before = code_digest(TINY)
    with (copy / name).open("a") as file:
        file.write("# edited\n")
    assert code_digest(TINY) != before


@pytest.mark.parametrize(
    "name", ["navicache_cli/terminal.py", "navicache_cli/compare/table.py", "navicache_cli/run/summary.py"]
)
def test_code_that_shows_does_not(copy, name):
    before = code_digest(TINY)
    with (copy / name).open("a") as file:
        file.write("# edited\n")
    assert code_digest(TINY) == before


def test_in_an_archive_it_is_the_same(copy, tmp_path, monkeypatch):
    before = code_digest(TINY)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", copy)
    packed = zipfile.Path(archive)
    read_from(packed, monkeypatch)
    assert code_digest(TINY) == before


def test_without_sources_the_version_counts(copy, monkeypatch):
    for path in [*copy.rglob("*.py"), *copy.rglob("*.json")]:
        path.unlink()
    before = code_digest(TINY)
    monkeypatch.setattr(sources, "__version__", "99")
    assert code_digest(TINY) != before


@pytest.mark.parametrize(
    ("module", "counts", "does_not"),
    [
        ("strange.inner.backend", "strange/model.py", "other.py"),
        ("space.strange.backend", "space/strange/deep/model.py", "space/other.py"),
        ("strange_alone", "strange_alone.py", "other.py"),
    ],
)
def test_a_package_of_somebody_else_counts_as_a_whole(tmp_path, monkeypatch, module, counts, does_not):
    source = tmp_path / f"{module.replace('.', '/')}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("class Backend: ...\n")
    for folder in {*source.parents} - {*tmp_path.parents, tmp_path, tmp_path / "space"}:
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    backend = importlib.import_module(module).Backend()
    before = code_digest(backend)
    assert before != code_digest(TINY)
    for name, changes in ((does_not, False), (counts, True)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write("# edited\n")
        assert (code_digest(backend) != before) is changes
    for name in [name for name in sys.modules if name.startswith(("strange", "space"))]:
        monkeypatch.delitem(sys.modules, name)


def test_figures_of_an_edited_policy_are_not_kept(cli, tmp_path):
    """The program, from a copy of its sources that is edited in between."""
    root = copy_sources(tmp_path / "copy")
    env = {"PYTHONPATH": os.pathsep.join([str(root), str(ROOT)])}
    options = ("--modes", "fast", "--prompt", "a red circle", "--steps", "3", "--no-lpips", "--no-page")
    arguments = ("compare", "--methods", "easycache", *options, "--output-dir", "out")
    told = []
    for edited in ("compare/table.py", "cache/policies/gate.py"):
        with (root / "navicache_cli" / edited).open("a") as file:
            file.write("# edited\n")
        done = cli(*arguments, env=env)
        assert done.returncode == 0, done.stderr
        told += [line for line in done.stderr.splitlines() if "cells: " in line]
    assert told == [f"2 cells: {run} run, {2 - run} kept from before" for run in (2, 2)]
