"""A small double of an official repository, and the program on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from navicache_cli.media.video import read_video
from tests import warm
from tests.conftest import clean_environment
from tests.program import ROOT, generate, report_in, report_of

# A CPU where the program asks for a GPU.
ON_CPU = """
import torch, {module}
{module}.choose_device = lambda plan: torch.device("cpu")
"""


@dataclass(frozen=True)
class Double:
    """The double of an official repository.

    Attributes:
        model: the family.
        repository: which, where the family runs through any of several, or has a name no folder should have.
        module: that chooses the device, where it is not `backends.<model>.backend`.
    """

    model: str
    repository: str = ""
    module: str = ""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(__file__).with_name(f"{self.repository or self.model}_repo")

    def program(self, folder: Path) -> Callable[..., subprocess.CompletedProcess]:
        """Return what runs `navicache generate` for this family in `folder/work`.

        Managed weights belong below `folder/cache/navicache`. Nothing but --repo finds the double. Code in
        `before` runs first.
        """
        (folder / "work").mkdir()
        places = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hub")}

        def run(*arguments, repo=self.path, on_cpu=False, env=None, before=""):
            flag = ["--repo", str(repo)] if repo else []
            module = self.module or f"backends.{self.model}.backend"
            before += ON_CPU.format(module=module) if on_cpu else ""
            given = ["--model", self.model, *flag, *arguments]
            return generate(folder / "work", *given, before=before, **places, **(env or {}))

        return run

    def changed(self, folder: Path, file: str, *words: tuple[str, str]) -> Path:
        """Copy the double to `folder/changed` with words of one file replaced, each (old, new)."""
        copy = folder / "changed"
        shutil.copytree(self.path, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / file).read_text()
        for old, new in words:
            assert old in text
            text = text.replace(old, new)
        (copy / file).write_text(text)
        return copy

    def write_weights(self, folder: Path, code: str) -> Path:
        """Run code that imports the double and writes weights for it in `folder/weights`; return that."""
        weights = folder / "weights"
        weights.mkdir()
        paths = os.pathsep.join([str(self.path), str(ROOT)])
        done = warm.python(code, cwd=weights, env=clean_environment(PYTHONPATH=paths))
        assert done.returncode == 0, done.stderr
        return weights


def assert_generated(
    done: subprocess.CompletedProcess, video: Path, shape: tuple[int, ...], fps: float, tested: str
) -> dict:
    """Random weights gave a video as asked for, and the user is told that it is noise; returns the report.

    Args:
        done: the run, with --json.
        video: where it was to be written; its report lies beside it.
        shape: of the video, (frames, height, width, 3).
        fps: its frames per second.
        tested: the start of the commit that the family is tested with, which a double is not.
    """
    report = report_of(done)
    assert report_in(video.with_suffix(".json")) == report
    frames, found = read_video(video)
    assert frames.shape == shape
    assert found == fps
    times, notes = report["timings_s"], report["notes"]
    assert min(times["text"], times["denoise"], times["decode"]) > 0
    assert report["model"]["weights_digest"] == "none: random-small weights"
    assert "THE PICTURE IS NOISE" in notes[0]
    assert any("(--repo), commit unknown" in note for note in notes)
    assert any(f"untested; tested: {tested}" in note for note in notes)
    assert "Warning" not in done.stderr
    assert "it/s" not in done.stderr, "the official progress bar stays away"
    return report


def assert_made_from_weights(report: dict, again: dict) -> None:
    """Two runs found the same weights in different places and made the same video, which is not noise."""
    assert not any("NOISE" in note for note in report["notes"])
    assert report["totals"]["skipped_steps"] > 0
    assert again["model"]["weights_digest"] == report["model"]["weights_digest"]
    assert again["output"]["sha256"] == report["output"]["sha256"]
