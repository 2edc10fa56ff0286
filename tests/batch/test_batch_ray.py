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
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from navicache_cli.batch.agenda import Agenda, Outcome, Task
from navicache_cli.batch.folder import Folder
from navicache_cli.batch.items import make_items
from navicache_cli.batch.making import Checked, Made
from navicache_cli.batch.manifest import Manifest
from navicache_cli.batch.on_ray import MOST_LOST_LOADING, _Engine, count_workers, threads_each
from navicache_cli.batch.progress import BatchProgress
from navicache_cli.batch.ray_session import Cluster, TooLateError, within
from navicache_cli.batch.ray_worker import Home, Maker, Orders, identify
from navicache_cli.batch.rows import read_rows
from navicache_cli.errors import BackendError, NavicacheError, OutputError, UsageError, WeightsError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from tests.batches import NAMES, PROMPTS, QUICK, digests, done_names, records, run, start, wait_for
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


def descendants(pid: int) -> dict[int, str]:
    """The processes that one started, and theirs, with their names."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            number, name = head.split(" (", 1)
            parents[int(number)], names[int(number)] = int(rest.split()[1]), name
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return {one: names[one] for one in found - {pid}}


def wait_until(told: str, condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {told}")


# In every process of Python: to whom it connects or sends, what names it looks up, and who it is.
LISTENER = """
import os, sys
def listen(event, values):
    if event.split(".")[-1] in ("connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname"):
        to = values[0] if event.startswith("socket.get") else values[1]
        to = to[0] if isinstance(to, tuple) else to
        path = os.environ.get("NAVICACHE_TEST_HEARD")
        if path:
            with open(path, "a") as file:
                print(repr(to).replace(" ", ""), event, *sys.argv[:1], *sys.orig_argv[2:3], file=file)
sys.addaudithook(listen)
"""


def is_here(address: str) -> bool:
    """Whether it is a name or an address of this machine, or a socket that is a file."""
    host = address.strip("b'\"")
    return host in ("None", "localhost", "::1", "") or host.startswith(("127.", "/", "\\x00"))


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
    (prompts / "listening").mkdir()
    (prompts / "listening/sitecustomize.py").write_text(LISTENER)
    paths = os.pathsep.join([str(prompts / "listening"), os.environ.get("PYTHONPATH", "")])
    heard = prompts / "heard"
    environment = clean_environment(OMP_NUM_THREADS="1", PYTHONPATH=paths, NAVICACHE_TEST_HEARD=str(heard))
    process = start(prompts, *TWO, "--json", "--retry", "1", "--overwrite", env=environment)
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
    told = ("[", "error", "try", "note: 4 steps")
    assert [line for line in stderr.splitlines() if not line.startswith(told)] == []
    assert set(Path("/tmp").glob("navicache-ray-*")) == folders
    calls = heard.read_text().splitlines()
    assert any("ray/_private" in call for call in calls), "Ray's processes were listened to"
    assert [call for call in calls if not is_here(call.split()[0])] == []
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
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    wait_until("the end of all processes", lambda: not processes_of(mark))
    assert set(Path("/tmp").glob("navicache-ray-*")) == folders
    assert done_names(prompts / "out") == []


@needs_ray
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_batch_that_is_ended_ends_what_it_started(prompts, number):
    folders = set(Path("/tmp").glob("navicache-ray-*"))
    process = start(prompts, *TWO, env=clean_environment(OMP_NUM_THREADS="1"), start_new_session=True)
    wait_for(process, "[1/6]")
    before = descendants(process.pid)
    assert any("raylet" in name for name in before.values())
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    wait_until("the end of all processes", lambda: not any(map(is_running, before)), seconds=10)
    wait_until(
        "the end of its folder", lambda: set(Path("/tmp").glob("navicache-ray-*")) <= folders, seconds=10
    )
    if number == signal.SIGTERM:
        assert process.returncode == 143, errors
        assert "the finished ones are kept" in errors
        told = ("[", "error", "try", "note: 4 steps")
        assert [line for line in errors.splitlines() if not line.startswith(told)] == []
    made = done_names(prompts / "out")
    assert made
    assert set(made) <= {path.name for path in (prompts / "out/videos").iterdir()}


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


def test_what_takes_too_long_is_given_up():
    """Ray's loops catch every `Exception`, and try again."""
    before = time.monotonic()
    with pytest.raises(TooLateError):
        within(0.1, lambda: time.sleep(5))
    assert time.monotonic() - before < 3
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_signals_are_heard_while_ray_is_waited_for():
    """Each as what it is, though it takes handlers of its own."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        within(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(KeyboardInterrupt):
        within(30, lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(10)))


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
    to_do, outcome, folder = agenda()
    for pid in (101, 102, 103):
        task = to_do.next()
        assert task.item.name == NAMES[0], "it comes back before the others"
        assert task.replace == (pid > 101)
        to_do.started(task, pid)
        to_do.lost(task, "killed")
    assert outcome.failed == {NAMES[0]: "3 workers ended while they made it; the last: killed"}
    assert to_do.next().item.name == NAMES[1]
    found = [(record["state"], record["pid"]) for record in records(folder.root)]
    assert found[:3] == [("started", 101), ("started", 102), ("started", 103)]
    assert found[3:] == [("failed", os.getpid())]


class RayError(Exception):
    """In the place of Ray's: a worker has ended."""


class RayTaskError(RayError):
    """In the place of Ray's: something was raised in a worker."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Machines:
    """In the place of Ray: on each machine room for one worker, and what becomes of loads there."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, **loads: Exception | None) -> None:
        self.loads, self.free, self.started = loads, list(loads), []
        self.util = SimpleNamespace(scheduling_strategies=self)

    def NodeAffinitySchedulingStrategy(self, node: str, soft: bool) -> str:  # noqa: N802 (Ray's name)
        assert soft, "the machine may be gone"
        return node

    def options(self, scheduling_strategy: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda: self.remote(scheduling_strategy))

    def remote(self, node: str) -> SimpleNamespace:
        node = self.free[0] if node == "SPREAD" else node
        self.free.remove(node)
        self.started.append(node)
        home = Home(1000 + len(self.started), node, f"the machine {node}")
        answers = {"hello": home, "load": self.loads[node], "make": Made("0" * 64, 4, 1, 1.0)}
        calls = {name: SimpleNamespace(remote=lambda *_, found=found: self.answer(found))
                 for name, found in answers.items()}  # fmt: skip
        return SimpleNamespace(node=node, **calls)

    def answer(self, found: object) -> SimpleNamespace:
        future = Future()
        if isinstance(found, Exception):
            future.set_exception(found)
        elif isinstance(found, Made):  # It takes its time, as making a video does.
            threading.Timer(0.1, future.set_result, [found]).start()
        else:
            future.set_result(found)
        return SimpleNamespace(future=lambda: future)

    def kill(self, actor: SimpleNamespace) -> None:
        self.free.append(actor.node)


@pytest.fixture
def engine(agenda):
    """Make the engine of a batch on machines, and say what became of the batch."""

    def make(machines: Machines) -> tuple[_Engine, Outcome]:
        to_do, outcome, folder = agenda()
        progress = BatchProgress(len(NAMES), 0, 0, 0, quiet=True)
        orders = Orders(resolve([Layer("test", {})]), folder, "", "", 1, {})
        return _Engine(machines, machines, orders, to_do, progress), outcome

    return make


NO_WEIGHTS, ENDED = RayTaskError(WeightsError("no weights", "get them")), RayError("out of memory")


@pytest.mark.parametrize(("reason", "told", "tried"), [
    (NO_WEIGHTS, "no weights", 1),
    (ENDED, "3 Ray workers ended while they loaded tiny", MOST_LOST_LOADING),
])  # fmt: skip
@pytest.mark.parametrize("order", ["bad first", "bad last"])
def test_a_machine_that_cannot_load_is_put_aside(engine, capsys, reason, told, tried, order):
    loads = {"bad": reason, "good": None, "fine": None}
    names = list(loads) if order == "bad first" else list(reversed(loads))
    machines = Machines(**{name: loads[name] for name in names})
    to_run, outcome = engine(machines)
    to_run.work(3, 1)
    assert sorted(outcome.made) == sorted(NAMES)
    assert Counter(machines.started) == {"bad": tried, "good": 1, "fine": 1}
    shown = " ".join(capsys.readouterr().err.split())
    assert f"a worker on the machine bad does not take part: {told}" in shown


@pytest.mark.parametrize(
    ("reason", "error"), [(NO_WEIGHTS, "no weights"), (ENDED, "ended while they loaded")]
)
def test_a_batch_ends_where_no_machine_can_load(engine, reason, error):
    machines = Machines(one=reason, other=reason)
    to_run, outcome = engine(machines)
    with pytest.raises(NavicacheError, match=error):
        to_run.work(2, 1)
    assert (outcome.made, outcome.failed) == ([], {})


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
