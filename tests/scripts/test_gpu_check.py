"""scripts/gpu_check.sh on a CPU: the double of Wan2.1 in the place of the official code."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest

from tests.conftest import clean_environment
from tests.program import ROOT, assert_refused, loaded_script

QUICK = ("--weights", "random-small", "--frames", "1", "--steps", "10", "--align-steps", "2")
COMPUTED = {"fast": 4, "calibrated": 5, "mid": 5, "slow": 5, "easycache": 4}


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


def read(folder):
    return json.loads((folder / "gpu-check.json").read_text())


def test_measures_and_writes(check, tmp_path):
    code = ("--repo", str(ROOT / "tests/doubles/wan_repo"))
    done = check(*code, *QUICK, "--only", "all", "--session-runs", "2", "--out", "results")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "results")
    runs, page = found["runs"], (tmp_path / "results/gpu-check.md").read_text()
    assert done.stdout == page
    order = ["bare", "off", "fast", "calibrated", "measured", "mid", "slow", "easycache", "bare again"]
    assert list(runs) == order
    assert all(name in page for name in runs)
    for name in ("off", "measured"):
        assert runs[name]["totals"]["computed_steps"] == 10
    assert runs["off"]["totals"]["cache_bytes"] == 0
    for name, computed in COMPUTED.items():
        sums, steps = runs[name]["totals"], runs[name]["steps"]
        assert sums["computed_steps"] == computed
        assert sums["cache_bytes"] > 0
        times = {ran: [step["seconds"] for step in steps if step["computed"] == ran] for ran in (True, False)}
        assert statistics.median(times[False]) < 0.2 * statistics.median(times[True])
    assert all(run["peak_bytes"] > 2**27 for run in runs.values())
    assert set(found["session_us_a_step"]) == {
        "off", "navicache, nothing skipped", "navicache, all but forced skipped",
        "calibrated, nothing skipped", "calibrated, half on a budget",
        "calibrated, half on a budget, guidance told",
    }  # fmt: skip
    assert len(found["targets"]) == 2 + len(COMPUTED)
    assert page.count("\n- ") == len(found["targets"])
    uncached = (runs["bare"]["denoise_s"] + runs["bare again"]["denoise_s"]) / 2
    assert found["uncached_denoise_s"] == pytest.approx(uncached)
    share = uncached / runs["easycache"]["denoise_s"] / runs["easycache"]["totals"]["speedup_bound"]
    told = f"easycache: {share:.1%} of what its skipped steps allow, target 98%"
    assert found["targets"][told] == (share >= 0.98)


def test_goes_on_with_what_is_not_there(check, tmp_path):
    few = ("--model", "tiny", "--steps", "8", "--align-steps", "1", "--session-runs", "0")
    done = check(*few, "--minutes", "0")
    assert done.returncode == 0, done.stderr
    assert "no time for bare, off, fast, calibrated; the same command" in " ".join(done.stderr.split())
    assert read(tmp_path / "gpu-check")["runs"] == {}
    assert check(*few, "--only", "off").returncode == 0
    first = read(tmp_path / "gpu-check")["runs"]["off"]
    done = check(*few, "--only", "off,calibrated")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "gpu-check")
    assert found["runs"]["off"] == first, "kept from before"
    assert list(found["runs"]) == ["off", "calibrated"]
    assert found["uncached_denoise_s"] == first["denoise_s"]
    assert "calibrated" in done.stdout
    other = check("--model", "tiny", "--steps", "5")
    assert_refused(other, 2, "expected results of this plan", "found another plan", "--out")
    assert_refused(check(*few, "--only", "of"), 2, "--only expects some of bare, off", "found 'of'")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))  # where it finds measure_overhead
    yield from loaded_script("gpu_check")
    sys.path.remove(str(ROOT / "scripts"))


def test_peaks_are_held_against_what_is_expected(script, tmp_path):
    weights = {"transformer": 5.25, "text encoder": 10.5}
    stage = {"weights": weights, "activations": 2.0, "cache": 0.25}
    document = {"peak_gib": 24.0, "stages": {"denoise": stage}}
    assert script.peak_of(document, "random") == 7.5, "the others are stand-ins"
    assert script.peak_of(document, "") == 24.0
    assert script.peak_of(document, "random-small") is None, "the small model was not measured"
    # Of two experts the one that is there.
    stage["weights"] = {"VAE": 0.5, "low-noise transformer": 26.5}
    assert script.peak_of(document, "random") == 28.75
    check = script.Check({"plan": {}}, tmp_path)
    for name, peak in (("bare", 7.5), ("off", 8.0)):
        check.runs[name] = script.Measured(1.0, 1.0, int(peak * 2**30), 7.5, [], {})
    assert script.verdicts(check) == {
        "bare: peak +0.0% from what is expected, target within 5%": True,
        "off: peak +6.7% from what is expected, target within 5%": False,
    }
    assert "| 8.00 GiB | 7.50 GiB |" in script.table(check)[-1]


@pytest.mark.parametrize(
    ("flag", "value"), [("--minutes", "nan"), ("--minutes", "-1"), ("--session-runs", "-1")]
)
def test_less_than_nothing_is_refused(script, monkeypatch, flag, value):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", flag, value])
    with pytest.raises(script.UsageError, match=f"{flag} expects a number of at least 0, found {value}"):
        script.main()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": {"off": {"hours": 1}}, "session_us_a_step": {}}'])
def test_a_folder_with_other_results(script, tmp_path, text):
    (tmp_path / "gpu-check.json").write_text(text)
    with pytest.raises(script.UsageError, match=r"results of gpu_check\.py in .*, found something else"):
        script.Check({"plan": {}}, tmp_path)


def test_without_a_gpu(check, tmp_path):
    done = check("--repo", str(ROOT / "tests/doubles/wan_repo"))
    assert_refused(done, 3, "expects an NVIDIA GPU, found none")
    assert not (tmp_path / "gpu-check").exists()
