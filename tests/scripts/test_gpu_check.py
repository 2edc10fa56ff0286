"""scripts/gpu_check.sh on a CPU: the double of Wan2.1 in the place of the official code."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest

from tests.conftest import clean_environment
from tests.program import ROOT, assert_refused

QUICK = ("--weights", "random-small", "--frames", "1", "--steps", "10", "--align-steps", "2", "--runs", "2")
PUBLISHED = {"navicache fast": 2.23, "navicache mid": 2.01, "navicache slow": 1.86, "easycache": 2.54}


@pytest.fixture
def check(tmp_path):
    """Run the script in an empty folder."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def run(*arguments):
        environment = clean_environment(
            PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            CUDA_VISIBLE_DEVICES="",
            PYTHONPATH=str(ROOT),
        )
        return subprocess.run(
            ["bash", str(ROOT / "scripts/gpu_check.sh"), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip

    return run


def test_measures_and_writes(check, tmp_path):
    done = check("--repo", str(ROOT / "tests/doubles/wan_repo"), *QUICK, "--out", "results")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results/gpu-check.json").read_text())
    runs, page = found["runs"], (tmp_path / "results/gpu-check.md").read_text()
    assert done.stdout == page
    assert list(runs) == ["bare", "off", "nothing skipped", *PUBLISHED, "bare again"]
    assert all(name in page for name in runs)
    for name in ("off", "nothing skipped"):
        assert runs[name]["totals"]["computed_steps"] == 10
    assert runs["off"]["totals"]["cache_bytes"] == 0
    for name, speedup in PUBLISHED.items():
        sums, steps = runs[name]["totals"], runs[name]["steps"]
        assert sums["computed_steps"] == pytest.approx(10 / speedup, abs=1.6), "as many as were aimed at"
        assert sums["cache_bytes"] > 0
        times = {ran: [step["seconds"] for step in steps if step["computed"] == ran] for ran in (True, False)}
        assert statistics.median(times[False]) < 0.2 * statistics.median(times[True])
    assert set(found["session_us_a_step"]) == {
        "off", "navicache, nothing skipped", "navicache, all but forced skipped",
        "calibrated, nothing skipped", "calibrated, half on a budget",
    }  # fmt: skip
    assert len(found["targets"]) == 2 + len(PUBLISHED)
    assert page.count("\n- ") == len(found["targets"])
    efficiency = [name for name, met in found["targets"].items() if name.startswith("easycache")]
    bound = runs["easycache"]["totals"]["speedup_bound"]
    share = found["bare_denoise_s"] / runs["easycache"]["denoise_s"] / bound
    assert efficiency == [f"easycache: {share:.1%} of what its skipped steps allow, target 98%"]
    assert found["targets"][efficiency[0]] == (share >= 0.98)


def test_without_a_gpu(check, tmp_path):
    done = check("--repo", str(ROOT / "tests/doubles/wan_repo"))
    assert_refused(done, 3, "expects an NVIDIA GPU, found none")
    assert not (tmp_path / "gpu-check").exists()
