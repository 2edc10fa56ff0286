"""The official sequence parallel of Wan2.1 and Wan2.2 in two processes on a CPU; xfuser is a double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backends.wan.tasks import WAN, WAN22
from tests.conftest import clean_environment
from tests.repos.checkouts import checkout_of

ROOT = Path(__file__).parents[2]


def outcome(model, repository, folder, count):
    """Run the worker in `count` processes; return the facts of each."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    worker = [str(Path(__file__).with_name("parallel_worker.py")), model, repository, str(folder), str(count)]
    paths = [str(ROOT), str(ROOT / "tests/doubles/xfuser"), os.environ.get("PYTHONPATH", "")]
    environment = clean_environment(
        PYTHONPATH=os.pathsep.join(paths), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"
    )
    done = subprocess.run(
        [sys.executable, *(several if count > 1 else []), *worker],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(Path(folder, f"{count}-{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.shows("sequence parallel", "wan t2v-1.3B", "wan2.2 t2v-A14B")
@pytest.mark.parametrize(
    ("official", "forward"), [(WAN, "usp_dit_forward"), (WAN22, "sp_dit_forward")], ids=["wan", "wan2.2"]
)
def test_sequence_parallel(official, forward, tmp_path):
    repository = checkout_of(official.variable, official.url)
    first, second = outcome(official.name, repository, tmp_path, 2)
    (alone,) = outcome(official.name, repository, tmp_path, 1)
    assert first["forward"] == second["forward"] == forward, "the official one, ours on top of it"
    assert first["restored"]
    assert first["records"] == second["records"], "all numbers, to the last digit"
    ran = [computed for computed, *_ in first["records"]]
    assert ran == [computed for computed, *_ in alone["records"]]
    assert 2 < ran.count(False) < 9
    # Norms are those of the whole video: half of the tokens would measure something else.
    for (_, two, _), (_, one, _) in zip(first["records"], alone["records"], strict=True):
        assert two == pytest.approx(one, rel=1e-2)
    video = torch.load(tmp_path / "2-0.pt", weights_only=True)
    # The official sequence-parallel attention rounds to bfloat16, the other one not on a CPU.
    assert (video - torch.load(tmp_path / "1-0.pt", weights_only=True)).abs().mean() < 0.02
    assert torch.load(tmp_path / "2-1.pt", weights_only=True).shape == (3, 0, 64, 96)
