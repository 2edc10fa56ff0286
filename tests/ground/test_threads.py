"""How many threads compute, what they do while they wait, and what that is worth on a busy machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from navicache_cli.threads import use_at_most
from tests.conftest import clean_environment

TREE = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "MKL_NUM_THREADS")


def environment(**extra: str) -> dict[str, str]:
    return {key: value for key, value in clean_environment().items() if key not in THREADS} | extra


def generate(folder: Path, *arguments: str, **extra: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "navicache_cli", "generate", "--json", "-q", "--overwrite", *arguments],
        cwd=folder, env=environment(PYTHONPATH=str(TREE), **extra), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "most", "used"), [("", 1, 1), ("", 3, 3), ("", 9, 4), ("4", 1, 4)])
@pytest.mark.usefixtures("four_threads")
def test_a_model_states_how_many_it_gains_from(monkeypatch, said, most, used):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    use_at_most(most)
    assert torch.get_num_threads() == used


@pytest.mark.parametrize(
    ("extra", "threads", "waiting"),
    [({}, 1, "passive"), ({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"}, 2, "active")],
)
def test_the_report_says_what_was_used(tmp_path, extra, threads, waiting):
    machine = generate(tmp_path, "--steps", "2", **extra)["machine"]
    assert (machine["threads"], machine["waiting"]) == (threads, waiting)


def test_the_policy_is_there_before_torch_reads_it():
    """OpenMP's runtime comes with torch and reads the variable once."""
    program = """
import os, sys
from navicache_cli import app
import navicache_cli.run.generate, navicache_cli.compare.compare, navicache_cli.batch.batch
def run(**_):
    print("torch" in sys.modules, os.environ["OMP_WAIT_POLICY"])
    return 0
app.app = run
app.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=TREE, env=environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "PASSIVE"], done.stderr


@contextmanager
def busy_cores() -> Iterator[None]:
    """Another process on every core, which ends by itself if nobody ends it."""
    program = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_other_load_shortens_no_work(tmp_path):
    """Seconds of the wall clock say little here: they depend on how many others there are."""
    quick = ("--baseline", "--steps", "20", "--align-steps", "4", "--threshold", "0.2")
    quiet = generate(tmp_path, *quick)
    with busy_cores():
        busy = generate(tmp_path, *quick)
    assert busy["output"]["sha256"] == quiet["output"]["sha256"]
    assert busy["timings_s"]["clock"] == "cpu"
    for report in (quiet, busy):
        assert 1 < report["baseline"]["speedup"] < 1.25 * report["totals"]["speedup_bound"]
    # Processor time is for the work, not for waiting; a core that is shared is slower by its caches alone.
    assert busy["timings_s"]["cpu"]["denoise"] < 3 * quiet["timings_s"]["cpu"]["denoise"]
