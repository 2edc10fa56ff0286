"""The official sequence parallels in two processes on a CPU; xfuser and flash-attn are doubles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backends.hunyuan.tasks import HUNYUAN
from backends.wan.tasks import WAN
from tests.conftest import clean_environment
from tests.repos.checkouts import checkout_of

ROOT = Path(__file__).parents[2]


def outcome(official, doubles, folder, count, threshold):
    """Run the worker in `count` processes, with these doubles of packages; return the facts of each."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    repository = checkout_of(official.variable, official.url)
    arguments = [official.name, repository, str(folder), str(count), threshold]
    worker = [str(Path(__file__).with_name("parallel_worker.py")), *arguments]
    paths = [str(ROOT), *(str(ROOT / "tests/doubles" / name) for name in doubles)]
    paths.append(os.environ.get("PYTHONPATH", ""))
    environment = clean_environment(
        PYTHONPATH=os.pathsep.join(paths), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"
    )
    done = subprocess.run(
        [sys.executable, *(several if count > 1 else []), *worker],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(Path(folder, f"{count}-{rank}.json").read_text()) for rank in range(count)]


# Wan2.1 decodes in its first process alone. HunyuanVideo takes flash-attn itself for the padding of the text.
@pytest.mark.parametrize(
    ("official", "doubles", "threshold", "forward", "frames_of_the_second"),
    [
        (WAN, ("xfuser",), "0.1", "usp_dit_forward", 0),
        (HUNYUAN, ("xfuser", "flash_attn"), "0.3", "new_forward", 5),
    ],
    ids=["wan", "hunyuan"],
)
def test_sequence_parallel(tmp_path, official, doubles, threshold, forward, frames_of_the_second):
    first, second = outcome(official, doubles, tmp_path, 2, threshold)
    (alone,) = outcome(official, doubles, tmp_path, 1, threshold)
    assert first["forward"] == second["forward"] == forward != alone["forward"], "ours on top of it"
    assert first["restored"]
    assert first["records"] == second["records"], "all numbers, to the last digit"
    ran = [computed for computed, *_ in first["records"]]
    assert ran == [computed for computed, *_ in alone["records"]]
    assert 2 <= ran.count(False) <= 9
    # Norms are those of the whole video: half of the tokens would measure something else.
    for (_, two, _), (_, one, _) in zip(first["records"], alone["records"], strict=True):
        assert two == pytest.approx(one, rel=1e-2)
    video = torch.load(tmp_path / "2-0.pt", weights_only=True)
    # The official sequence-parallel attention may round to bfloat16, the other one does not on a CPU.
    assert (video - torch.load(tmp_path / "1-0.pt", weights_only=True)).abs().mean() < 0.02
    assert torch.load(tmp_path / "2-1.pt", weights_only=True).shape == (3, frames_of_the_second, 64, 96)
