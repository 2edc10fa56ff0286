"""Several processes on one video: gloo on a CPU, two processes, one decision."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from backends.official.distributed import check_heads
from navicache_cli.cache import ForwardSite, Session, attach, make_policy
from navicache_cli.errors import SiteError, UsageError
from navicache_cli.launch import Launch, agreement, process_name, read_launch
from navicache_cli.plan.parallel import check_processes
from navicache_cli.plan.plan import build_plan
from tests.cache.toys import sample, timesteps
from tests.conftest import clean_environment

STEPS = 30
DOUBLES = Path(__file__).parents[1] / "doubles"
SHARED = ("--ulysses", "2")
QUICK = ("--frames", "5", "--steps", "10", "--align-steps", "4", "--threshold", "0.15")


class Toy(nn.Module):
    """A model that meets the other processes in every forward, as sequence parallel does.

    Args:
        noise: added to what this process sees of its output.
        meets: whether forwards exchange anything.
        group: with whom.
    """

    def __init__(self, noise=0.0, meets=True, group=None):
        super().__init__()
        self.noise, self.meets, self.group = noise, meets, group
        self.generator = torch.Generator().manual_seed(0)
        self.scale = nn.Parameter(torch.full((8, 8), 0.05), requires_grad=False)

    def forward(self, x, t, context=0):
        if self.meets:
            found = [torch.zeros(()) for _ in range(dist.get_world_size())]
            dist.all_gather(found, t.detach().reshape(()), group=self.group)
            assert all(other == t for other in found), "processes met at different steps"
        y = 0.6 * torch.tanh(1.3 * x + t - 0.2 * context) + x @ self.scale * t
        return y + self.noise * torch.randn(y.shape, generator=self.generator)


def decisions(model, agree, site=None):
    """Run a generation; return which steps ran, and every record without its time."""
    session = Session(make_policy("navicache", threshold=0.06, align_steps=4), STEPS, agree=agree)
    latents = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    with attach(site or ForwardSite(model), session):
        sample(model, latents, timesteps(STEPS), branches=2)
    records = [{**asdict(record), "seconds": None} for record in session.records]
    return [record.computed for record in session.records], records


def wrapped(model):
    """The model under FSDP, which binds nothing but wraps: its forward names no parameters."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, device_id=torch.device("cpu"))


def process(rank, folder, case):
    """One of the two processes; leaves its result in `folder`, or nothing if it fails."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/{case}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    agree = None if "alone" in case else agreement()
    # Both are here now: from here on, waiting for the other one for long means that it does not come.
    dist.barrier()
    group = dist.new_group(timeout=timedelta(seconds=20))
    model = Toy(noise=0.01 * rank, meets="meet" in case, group=group)
    if "fsdp" in case:
        model = wrapped(model)
        before = model.forward
        with pytest.raises(SiteError, match=r"Toy.forward: expected a parameter 'z', found \(x, t, context"):
            ForwardSite(model, inputs="z").bindings(
                Session(make_policy("off", threshold=0, align_steps=0), 1)
            )
    try:
        result = decisions(model, agree)
    except (AssertionError, RuntimeError) as error:
        result = f"{type(error).__name__}: {error}"
    if "fsdp" in case:
        assert model.forward == before
    Path(folder, f"{case}-{rank}.json").write_text(json.dumps(result))
    if not isinstance(result, str):
        dist.destroy_process_group()


def two_processes(folder, case):
    """Results of both processes, None for one that failed; nobody waits for ever."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=process, args=(rank, str(folder), case)) for rank in range(2)]
    for child in started:
        child.start()
    for child in started:
        child.join(timeout=90)
    hung = [child for child in started if child.is_alive()]
    for child in hung:
        child.kill()
        child.join()
    files = [Path(folder, f"{case}-{rank}.json") for rank in range(2)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def test_alone_the_perturbed_process_decides_otherwise(tmp_path):
    (first, _), (second, _) = two_processes(tmp_path, "alone")
    assert first != second
    assert False in first
    assert False in second


def test_deciding_otherwise_breaks_what_processes_share(tmp_path):
    told = [result for result in two_processes(tmp_path, "alone-meet") if isinstance(result, str)]
    assert told
    assert all("met at different steps" in text or "Timed out" in text or "closed" in text for text in told)


@pytest.mark.parametrize("case", ["meet", "meet-fsdp"])
def test_together_all_decide_as_the_first(tmp_path, case):
    first, second = two_processes(tmp_path, case)
    assert first is not None
    assert first == second, "every number logged, not only the decisions"
    ran, records = decisions(Toy(meets=False), agree=None)
    assert first == [ran, json.loads(json.dumps(records))], "and as one process does"
    assert 5 < ran.count(False) < STEPS - 5


def test_one_process_exchanges_nothing():
    assert agreement() is None


def test_launch(monkeypatch):
    assert read_launch({}) == Launch(0, 0, 1)
    assert read_launch({"WORLD_SIZE": "4", "RANK": "1"}) == Launch(), "machines of a cluster, not processes"
    started = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
    assert read_launch(started) == Launch(rank=5, local_rank=1, world_size=8)
    assert not read_launch(started).first
    for wrong in ({"RANK": "x"}, {"RANK": "8"}, {"RANK": "-1"}, {"LOCAL_RANK": "6"}):
        with pytest.raises(UsageError, match="LOCAL_RANK="):
            read_launch({**started, **wrong})
    assert process_name() == ""
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert process_name() == "process 5: "


@pytest.mark.parametrize(
    ("flags", "processes", "told", "hint"),
    [
        ({"ulysses": "2"}, 1, "ulysses 2 times ring 1 expects 2 processes, found 1 process$",
         "torchrun --nproc-per-node 2 --no-python navicache generate --ulysses 2 --ring 1 …"),
        ({"ulysses": "2", "ring": "2"}, 2, "expects 4 processes, found 2 processes", "--nproc-per-node 4"),
        ({}, 2, "expects 1 process, found 2 processes", "--ulysses 2"),
        ({"fsdp": "yes"}, 1, "fsdp expects several processes", "torchrun"),
        ({"model": "tiny"}, 2, "tiny expects one process, found 2", "without torchrun"),
    ],
)  # fmt: skip
def test_number_of_processes(flags, processes, told, hint):
    plan = build_plan({"model": "wan", **flags}, [], None, {})
    with pytest.raises(UsageError, match=told) as caught:
        check_processes(plan, Launch(0, 0, processes))
    assert hint in caught.value.hint


def test_what_fits():
    def plan(**flags):
        return build_plan({"model": "wan", **flags}, [], None, {})

    check_processes(plan(ulysses="2", ring="2", fsdp="yes"), Launch(3, 1, 4))
    check_processes(plan(), Launch())
    check_heads(plan(ulysses="4"), 12, "Wan2.1")
    with pytest.raises(UsageError, match="a divisor of the 12 attention heads") as caught:
        check_heads(plan(ulysses="5"), 12, "Wan2.1")
    assert "2, 3, 4, 6, 12, or share by parts: --ring 5" in caught.value.hint


def test_offload_is_for_one_process_unless_asked_for():
    def offload(**flags):
        plan = build_plan({"model": "wan", **flags}, [], None, {})
        return plan.offload, plan.provenance["offload"]

    assert offload() == (True, "preset wan")
    assert offload(ulysses="2") == (False, "preset wan, several processes")
    assert offload(ring="2", offload="yes") == (True, "--offload")


@pytest.fixture
def program(tmp_path):
    """Run `navicache generate` in an empty folder, in as many processes as asked for."""

    def run(*arguments, processes=1):
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        program = [*(several if processes > 1 else []), "-m", "navicache_cli"]
        environment = clean_environment(
            PYTHONPATH=str(DOUBLES / "xfuser"), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"
        )
        command = [sys.executable, *program, "generate", *arguments]
        started = subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            output, errors = started.communicate(timeout=400)
        finally:
            # Those that torchrun started too, should they hang.
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(command, started.returncode, output, errors)

    return run


WAN = ("--model", "wan", "--repo", str(DOUBLES / "wan_repo"), "--weights", "random-small", *QUICK)


def test_only_the_first_process_writes_and_prints(program, tmp_path):
    done = program(*WAN, *SHARED, "--baseline", "--json", "-o", "two.mp4", processes=2)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.json", "two.mp4"]
    assert done.stderr.count("THE PICTURE IS NOISE") == 1
    assert done.stderr.count("uncached: step 10/10") == 1
    assert report["totals"]["skipped_steps"] > 0
    assert report["baseline"]["speedup"] > 0
    alone = program(*WAN, "--json", "-o", "one.mp4")
    assert alone.returncode == 0, alone.stderr
    kept = ("index", "computed", "accumulated_error")
    one, two = (
        [[step[key] for key in kept] for step in json.loads(text)["steps"]]
        for text in (alone.stdout, done.stdout)
    )
    assert one == two
    assert (tmp_path / "one.mp4").stat().st_size > 10_000


def test_errors_say_which_process(program, tmp_path):
    done = program("--prompt", "a red circle", processes=2)
    assert done.returncode != 0
    assert "tiny expects one process, found 2 processes" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
    done = program(*WAN, *SHARED)
    assert done.returncode == 2
    assert "torchrun --nproc-per-node 2 --no-python navicache generate --ulysses 2" in done.stderr


def test_the_package_that_shares_sequences_is_missing():
    from importlib.util import find_spec

    from backends.official.distributed import check_sequence_parallel
    from navicache_cli.errors import BackendError

    if find_spec("xfuser") is not None:
        pytest.skip("run it where xfuser is not: pip uninstall xfuser")
    check_sequence_parallel(build_plan({"model": "wan"}, [], None, {}))
    with pytest.raises(BackendError, match="expects xfuser installed, found no xfuser") as caught:
        check_sequence_parallel(build_plan({"model": "wan", "ring": "2"}, [], None, {}))
    assert caught.value.hint == "pip install xfuser, or use one GPU"
