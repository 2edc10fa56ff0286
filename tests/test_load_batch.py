"""scripts/load_batch.py, in short: kills lose nothing, memory stays, a large manifest opens at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import clean_environment
from tests.program import ROOT


def measure(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/load_batch.py"), *arguments],
        env=clean_environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_load_in_short():
    pytest.importorskip("ray", reason="pip install 'navicache[ray]'")
    found = measure("--count", "10", "--steps", "3", "--kills", "2", "--longest", "6")
    assert found["scaling"]["efficiency"] > 0
    assert found["memory"]["serial"]["growth_mib"] < 0.05 * found["memory"]["serial"]["early_mib"]
    kills = found["kills"]
    assert kills["videos"] == 10
    for fault in ("lost", "made_twice", "hidden_files", "not_decoded", "different"):
        assert kills[fault] == 0, kills
    assert found["manifest"]["videos"] == 100_000
    assert found["manifest"]["seconds"] < 5, "2 where nothing else runs; see test_batch_parts"
