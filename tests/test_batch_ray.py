"""`navicache batch --engine ray` on a real Ray: the videos of the engine serial, whatever ends a worker.

Needs the package ray: `pip install 'navicache[ray]'`. What decides without Ray is tested without it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from navicache_cli.batch.agenda import Agenda, Outcome, Task
from navicache_cli.batch.folder import Folder
from navicache_cli.batch.items import make_items
from navicache_cli.batch.making import Checked
from navicache_cli.batch.manifest import Manifest
from navicache_cli.batch.on_ray import count_workers, threads_each
from navicache_cli.batch.progress import BatchProgress
from navicache_cli.batch.ray_session import Cluster, TimeIsUp, at_most
from navicache_cli.batch.ray_worker import Maker, Orders, identify
from navicache_cli.batch.rows import read_rows
from navicache_cli.errors import BackendError, OutputError, UsageError
from navicache_cli.plan import Layer, resolve
from tests.batches import NAMES, PROMPTS, QUICK, digests, done_names, records, run, start
from tests.conftest import clean_environment
from tests.program import assert_refused, invoke

TWO = (*QUICK, "--engine", "ray", "--workers", "2")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'navicache[ray]'")


def write_prompts(folder: Path) -> Path:
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return folder


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write_prompts(tmp_path)


def batch_here(folder: Path, *arguments: str) -> dict:
    """Run the batch of a folder in this process, one video after the other; what became of it."""
    import torch

    where = (folder / "prompts.txt", "--output-dir", folder / "out")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers have: more add up in another order, and last bits differ
    try:
        return json.loads(invoke("batch", *QUICK, *where, "--json", *arguments))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    """The videos made one after the other. Read only."""
    folder = write_prompts(tmp_path_factory.mktemp("serial"))
    assert batch_here(folder)["made"] == NAMES
    return folder / "out/videos"


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def processes_of(mark: str) -> set[int]:
    """The processes that run with this text in their environment."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:  # It ended, or is somebody else's.
            continue
    return {pid for pid in found if is_running(pid)}


def wait_until(told: str, condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {told}")


@needs_ray
def test_a_worker_is_killed_and_engines_are_mixed(prompts, serial):
    """A part by one engine, the rest by the other, one of whose two workers is killed; one video fails."""
    out = prompts / "out"
    batch_here(prompts, "--shard", "1/3")
    before = done_names(out)
    assert len(before) == 2
    failing = next(name for name in reversed(NAMES) if name not in before)
    in_the_way = out / "reports" / failing.replace(".mp4", ".json")
    in_the_way.mkdir()
    folders = set(Path("/tmp").glob("navicache-ray-*"))
    process = start(prompts, *TWO, "--json", "--retry", "1", env=clean_environment(OMP_NUM_THREADS="1"))
    log = out / "manifest.jsonl"
    wait_until("a video begun by a worker", lambda: log.exists() and b"\n" in log.read_bytes())
    victim = json.loads(log.read_text().split("\n")[0])
    os.kill(victim["pid"], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 8, stderr
    outcome = json.loads(stdout)
    assert sorted(outcome["kept"]) == before
    assert list(outcome["failed"]) == [failing]
    assert "cannot write" in outcome["failed"][failing]
    assert sorted(outcome["kept"] + outcome["made"] + [failing]) == sorted(NAMES)
    attempts = [(one["state"], one["attempt"]) for one in records(out) if one["name"] == failing]
    assert attempts[-4:] == [("started", 1), ("failed", 1), ("started", 2), ("failed", 2)]
    began = [r["pid"] for r in records(out) if (r["state"], r["name"]) == ("started", victim["name"])]
    assert began[0] == victim["pid"] != began[1], "another worker took it over"
    # Nothing of Ray's own is shown or left.
    assert [line for line in stderr.splitlines() if not line.startswith(("[", "error", "try"))] == []
    assert set(Path("/tmp").glob("navicache-ray-*")) == folders
    workers = {record["pid"] for record in records(out)} - {process.pid, os.getpid()}
    wait_until("the end of all workers", lambda: not any(map(is_running, workers)))
    in_the_way.rmdir()
    outcome = batch_here(prompts)
    assert outcome["made"] == [failing]
    assert digests(out / "videos") == digests(serial), "bit by bit, and no hidden file is left"
    assert done_names(out) == sorted(NAMES), "each once"


@needs_ray
def test_ctrl_c_while_ray_starts(prompts):
    """As on a terminal, where all processes get it: nothing is left running, nothing lies about."""
    folders = set(Path("/tmp").glob("navicache-ray-*"))
    mark = f"NAVICACHE_TEST_RUN={prompts}"
    environment = clean_environment(NAVICACHE_TEST_RUN=str(prompts))
    process = start(prompts, *TWO, env=environment, start_new_session=True)
    wait_until("processes of Ray", lambda: len(processes_of(mark)) > 2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "it goes on where it stopped" in errors
    assert "Traceback" not in errors
    wait_until("the end of all processes", lambda: not processes_of(mark))
    assert set(Path("/tmp").glob("navicache-ray-*")) == folders
    assert done_names(prompts / "out") == []


CLUSTER = """
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


@needs_ray
@pytest.mark.skipif(
    not os.environ.get("NAVICACHE_TEST_CLUSTER"), reason="NAVICACHE_TEST_CLUSTER=1; takes half a minute"
)
def test_a_cluster_that_runs(prompts, serial):
    """Started by another process; it goes on afterwards."""
    pipe = subprocess.PIPE
    environment = clean_environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64, OMP_NUM_THREADS="1")
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as cluster:
        address = cluster.stdout.readline().strip()
        process = start(prompts, *TWO, "--ray-address", address, "--json", env=environment)
        stdout, stderr = process.communicate(timeout=300)
        assert cluster.poll() is None, "the cluster is still there"
        cluster.communicate("\n")
    assert process.returncode == 0, stderr
    assert sorted(json.loads(stdout)["made"]) == sorted(NAMES)
    assert digests(prompts / "out/videos") == digests(serial)
    assert cluster.returncode == 0


@needs_ray
def test_nobody_answers_at_the_address(prompts):
    before = time.monotonic()
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert_refused(done, 3, "cannot reach Ray at 127.0.0.1:1", "Connection refused")
    assert time.monotonic() - before < 60, "Ray by itself tries for two minutes"


def test_what_takes_too_long_ends_in_spite_of_retries():
    """Ray's loops catch every `Exception`, and try again."""
    before = time.monotonic()

    def try_again_and_again():
        while time.monotonic() - before < 30:
            with suppress(Exception):
                time.sleep(30)

    with pytest.raises(TimeIsUp), at_most(0.1):
        try_again_and_again()
    assert time.monotonic() - before < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_ctrl_c_in_a_callback_is_not_lost(monkeypatch):
    """Nor printed, as Python does with what is raised in `__del__` or as a process forks; all else is."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))
    hooks = signal.getsignal(signal.SIGINT), sys.unraisablehook

    class Loses:
        def __init__(self, number=None):
            self.number = number

        def __del__(self):
            if self.number is None:
                raise ValueError
            signal.raise_signal(self.number)

    reached = []

    def lose():
        Loses()
        Loses(signal.SIGINT)
        reached.append(True)

    with pytest.raises(KeyboardInterrupt), at_most(30):
        lose()
    assert reached, "it was lost at first"
    assert told == [ValueError]
    assert hooks == (signal.getsignal(signal.SIGINT), sys.unraisablehook)


def test_without_ray(prompts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match="needs the package ray") as raised:
        batch_here(prompts, "--engine", "ray")
    assert raised.value.hint == "pip install 'navicache[ray]'"
    assert not (prompts / "out").exists(), "nothing was started"


@pytest.mark.parametrize(("arguments", "told"), [
    (("--engine", "spark"), "unknown engine 'spark'"),
    (("--workers", "2"), "--workers expects --engine ray"),
    (("--ray-address", "auto"), "--ray-address expects --engine ray"),
    (("--engine", "ray", "--workers", "0"), "--workers expects 1 or more"),
])  # fmt: skip
def test_options_that_do_not_fit(prompts, arguments, told):
    with pytest.raises(UsageError, match=told):
        batch_here(prompts, *arguments)


@pytest.fixture
def agenda(serial, tmp_path):
    """Make the agenda of the batch of `serial`, in a folder with the files that are asked for."""
    opened = []

    def make(*files: str) -> tuple[Agenda, Outcome, Folder]:
        rows = read_rows(serial.parent.parent / "prompts.txt")
        options = {"steps": 4, "align_steps": 1, "threshold": 1000}
        items = make_items(rows, [Layer("test", options)], "prompts.txt", "{prompt}-{n}.mp4", 2, [{}])
        folder = Folder(tmp_path / "lost")
        folder.prepare(items)
        for name in files:
            shutil.copy(serial.parent / name, folder.root / name)
        opened.append(Manifest(folder.root, (1, 1)))
        outcome, checked = Outcome(), Checked({item.name: [] for item in items}, {})
        progress = BatchProgress(len(items), 0, 0, 0, quiet=True)
        return Agenda(map(Task, items), checked, folder, opened[0], progress, outcome), outcome, folder

    yield make
    for manifest in opened:
        manifest.__exit__(None, None, None)


def test_a_video_that_ends_its_workers_fails_after_three(agenda):
    """And what they left is removed, at once and at the end."""
    to_do, outcome, folder = agenda()
    for pid in (101, 102, 103):
        task = to_do.next()
        assert task.item.name == NAMES[0], "it comes back before the others"
        assert task.replace == (pid > 101)
        to_do.started(task, pid)
        left = folder.videos / f".{NAMES[0][:40]}.{pid}-0123abcd.part.mp4"
        left.touch()
        to_do.lost(task, "killed")
        assert not left.exists()
    assert outcome.failed == {NAMES[0]: "3 workers ended while they made it; the last: killed"}
    assert to_do.next().item.name == NAMES[1]
    found = [(record["state"], record["pid"]) for record in records(folder.root)]
    assert found[:3] == [("started", 101), ("started", 102), ("started", 103)]
    assert found[3:] == [("failed", os.getpid())]
    left.touch()  # By an encoder that outlived its process.
    to_do.clear()
    assert not left.exists()


def test_a_worker_that_ends_after_its_report_has_made_the_video(agenda):
    to_do, outcome, folder = agenda(
        f"videos/{NAMES[0]}", f"reports/{NAMES[0].replace('.mp4', '.json')}", f"videos/{NAMES[1]}"
    )
    for name in NAMES[:2]:
        task = to_do.next()
        assert task.item.name == name
        to_do.started(task, 101)
        to_do.lost(task, "killed")
    assert outcome.made == NAMES[:1]
    assert done_names(folder.root) == NAMES[:1]
    assert to_do.next().item.name == NAMES[1], "a video without its report is made again"


def test_workers_and_their_threads(monkeypatch):
    assert count_workers(Cluster(), "GPU", 4) == 4
    assert count_workers(Cluster(workers=3), "GPU", 4) == 3
    with pytest.raises(UsageError, match="at most 4, one for each GPU that Ray has; found 5"):
        count_workers(Cluster(workers=5), "GPU", 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(16, workers) for workers in (1, 3, 16, 32)] == [16, 5, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [threads_each(16, workers) for workers in (1, 3, 16)] == [4, 4, 1]


@pytest.mark.parametrize(("of_the_user", "used"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_a_worker_has_the_users_threads_not_rays(tmp_path, monkeypatch, of_the_user, used):
    """Ray sets OMP_NUM_THREADS in its processes by itself, to the cores that a worker asked for."""
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    orders = Orders(resolve([Layer("test", {})]), Folder(Path("out")), str(tmp_path), "", 2, of_the_user)
    threads = torch.get_num_threads()
    try:
        Maker().load(orders)
        assert torch.get_num_threads() == used
        assert os.environ.get("OMP_NUM_THREADS") == of_the_user.get("OMP_NUM_THREADS")
    finally:
        torch.set_num_threads(threads)


def test_a_worker_that_does_not_see_the_folder(tmp_path, monkeypatch):
    """As on a machine of a cluster that has a folder of the same name on a disk of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    known = identify(tmp_path / "out")
    assert known == identify(tmp_path / "out"), "written once"
    plan = resolve([Layer("test", {})])

    def orders(start: str, folder_id: str) -> Orders:
        return Orders(plan, Folder(Path("out")), start, folder_id, 1, {})

    for wrong in (orders(str(tmp_path), "another"), orders(str(tmp_path / "none"), known)):
        with pytest.raises(OutputError, match="on a disk that all machines of the cluster share"):
            Maker().load(wrong)
    (tmp_path / "out/folder.id").unlink()
    with pytest.raises(OutputError, match="does not see it"):
        Maker().load(orders(str(tmp_path), known))
