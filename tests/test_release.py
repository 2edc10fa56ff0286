"""What a release states about itself agrees, and the check of its files finds what is wrong."""

from __future__ import annotations

import io
import re
import runpy
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from navicache_cli import __version__

ROOT = Path(__file__).parents[1]
CHECK = runpy.run_path(str(ROOT / ".ci/check_dist.py"), run_name="check_dist")
KNOWN = {
    "README.md",
    "navicache/__init__.py",
    "presets/tiny.yaml",
    "navicache_cli/report/schemas/report.schema.json",
    "navicache_cli/compare/page/page.js",
    "backends/tiny/weights/model.safetensors",
    "tests/test_release.py",
}


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_the_version_is_the_same_everywhere():
    citation = load("CITATION.cff")
    assert citation["version"] == __version__
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    if newest[1] != "Unreleased":
        assert newest[1] == f"{__version__} - {citation['date-released']}"


def test_the_citation_has_what_its_format_requires():
    citation = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all({"type", "title", "authors"} <= set(work) for work in citation["references"])


def test_the_workflow_runs_what_contributors_run_on_the_oldest_python():
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    oldest = re.search(r'^requires-python = ">=(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert job["strategy"]["matrix"]["python"] == [oldest[1], "3.13"]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda form: form.stem
)
def test_issue_forms_have_what_github_requires(form):
    described = yaml.safe_load(form.read_text("utf-8"))
    assert {"name", "description", "body"} <= set(described)
    assert {part["type"] for part in described["body"]} <= {"input", "textarea"}
    assert all(part["attributes"]["label"] for part in described["body"])
    ids = [part["id"] for part in described["body"]]
    assert len(ids) == len(set(ids))


def write_dist(folder: Path, packaged: set[str], everything: set[str]) -> Path:
    """Write a wheel and an sdist with these files, all of them empty."""
    metadata = {f"navicache-1.dist-info/{name}" for name in CHECK["WHEEL_METADATA"]}
    with zipfile.ZipFile(folder / "navicache-1-py3-none-any.whl", "w") as wheel:
        for name in sorted(packaged | metadata):
            wheel.writestr(name, "")
    with tarfile.open(folder / "navicache-1.tar.gz", "w:gz") as sdist:
        for name in sorted(everything | CHECK["SDIST_METADATA"]):
            sdist.addfile(tarfile.TarInfo(f"navicache-1/{name}"), io.BytesIO())
    return folder


def test_a_wheel_and_an_sdist_with_the_right_files(tmp_path):
    packaged = KNOWN - {"README.md", "tests/test_release.py"}
    assert CHECK["problems"](write_dist(tmp_path, packaged, KNOWN), KNOWN) == []


def test_missing_and_unexpected_files_are_named(tmp_path):
    wrong = KNOWN - {"README.md", "presets/tiny.yaml"} | {"navicache/__pycache__/a.pyc"}
    assert CHECK["problems"](write_dist(tmp_path, wrong, wrong), KNOWN) == [
        "wheel: missing presets/tiny.yaml",
        "wheel: unexpected navicache/__pycache__/a.pyc",
        "wheel: unexpected tests/test_release.py",
        "wheel: nothing like presets/*.yaml",
        "sdist: missing README.md",
        "sdist: missing presets/tiny.yaml",
        "sdist: unexpected navicache/__pycache__/a.pyc",
    ]
