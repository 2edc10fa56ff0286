"""The engine `ray`: worker processes that share one queue, on this machine or on a cluster.

There is a worker for each GPU, or several on a CPU. They make videos and say what they made; this process
hands out the items and alone writes the manifest. A worker that ends, however it does, is replaced, and its
item goes back to the front of the queue.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, NavicacheError, UsageError, one_line
from ..terminal import show_note
from .agenda import Agenda, Task
from .folder import Folder
from .making import Made, failure
from .ray_worker import Maker, Orders, identify

if TYPE_CHECKING:
    from ..plan import Plan
    from .progress import BatchProgress

MOST_LOST_LOADING = 3  # workers that end one after the other without having loaded the model
OBJECT_STORE_BYTES = 100 * 2**20  # little more than the least Ray takes: only small messages pass
PATIENCE = 60.0  # seconds without any worker after which the user is told
# Ray reads these when it is imported. Nothing is sent anywhere, and nothing is printed between our lines.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Cluster:
    """Where to work: `workers` None is one for each GPU, or CPU core; `address` None is this machine."""

    workers: int | None = None
    address: str | None = None


def check_ray() -> None:
    """Check that Ray is installed.

    Raises:
        BackendError: it is not.
    """
    _import_ray()


def work_on_ray(
    cluster: Cluster, plan: Plan, folder: Folder, agenda: Agenda, count: int, progress: BatchProgress
) -> None:
    """Do all tasks of an agenda with workers of Ray.

    Args:
        cluster: where.
        plan: of any item; what to load.
        folder: where the videos go.
        agenda: the tasks.
        count: how many they are; no more workers are started.
        progress: shown meanwhile.

    Raises:
        NavicacheError: Ray cannot be started or reached, a worker cannot load the model or does not see the
            folder, or the manifest cannot be written.
    """
    ray = _import_ray()
    _connect(ray, cluster)
    engine = None
    try:
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
        workers = min(count_workers(cluster, kind, int(resources.get(kind, 0))), count)
        cores = int(resources.get("CPU", 1)) if cluster.address else own_cores()
        threads = threads_each(cores, workers)
        where = {name: value for name, value in os.environ.items() if name.startswith("NAVICACHE_")}
        identity = identify(folder.root) if cluster.address else ""
        orders = Orders(plan, folder, os.getcwd(), identity, threads, where)
        # Each asks for one core, whatever it uses, so that as many as there are cores fit on any machines.
        options = {f"num_{kind.lower()}s": 1, "scheduling_strategy": "SPREAD"}
        engine = _Engine(ray, ray.remote(Maker).options(**options), orders, agenda, progress)
        engine.work(workers)
    finally:
        if engine is not None:
            engine.stop()
        ray.shutdown()
        if engine is not None:
            engine.clear()


def count_workers(cluster: Cluster, kind: str, there: int) -> int:
    """Return how many workers to start, of `there` GPUs or cores that Ray has.

    Raises:
        UsageError: more were asked for.
    """
    if cluster.workers is not None and cluster.workers > there:
        raise UsageError(
            f"--workers expects at most {there}, one for each {kind} that Ray has; found {cluster.workers}",
            f"--workers {there}" if there else "drop --ray-address",
        )
    return cluster.workers or max(there, 1)


def own_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(cores: int, workers: int) -> int:
    """Return how many threads a worker gets of the cores that all share, at most OMP_NUM_THREADS."""
    share = max(1, cores // workers)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdigit() and int(limit) else share


@dataclass
class _Worker:
    """A process of Ray, and its number once it has loaded the model."""

    actor: Any
    pid: int = 0


class _Engine:
    """Workers, and what each is at: loading the model (None) or a task."""

    def __init__(
        self, ray: ModuleType, maker: Any, orders: Orders, agenda: Agenda, progress: BatchProgress
    ) -> None:
        self._ray, self._maker, self._orders = ray, maker, orders
        self._agenda, self._progress = agenda, progress
        self._pending: dict[Any, tuple[_Worker, Task | None]] = {}
        self._idle: list[_Worker] = []
        self._ready, self._lost_loading = 0, 0

    def work(self, workers: int) -> None:
        """Start so many workers and do all tasks."""
        self._progress.start(f"starting {workers} worker{'s' if workers > 1 else ''}")
        for _ in range(workers):
            self._start()
        since, told = time.monotonic(), False
        while self._is_open():
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for answer in done:
                self._settle(answer, *self._pending.pop(answer))
                self._hand_out()
            if not (self._ready or told) and time.monotonic() - since > PATIENCE:
                show_note("no worker of Ray is ready yet; `ray status` shows what its machines do")
                told = True

    def stop(self) -> None:
        """End all workers at once."""
        for worker in [*self._idle, *(worker for worker, _ in self._pending.values())]:
            self._end(worker)

    def clear(self) -> None:
        """Remove what workers left that were ended in the middle of a task."""
        for _, task in self._pending.values():
            if task is not None:
                self._agenda.abandon(task)
        self._agenda.clear()

    def _is_open(self) -> bool:
        at_work = any(task is not None for _, task in self._pending.values())
        return bool(self._pending) and (at_work or not self._agenda.empty)

    def _start(self) -> None:
        worker = _Worker(self._maker.remote())
        self._pending[worker.actor.load.remote(self._orders)] = worker, None

    def _settle(self, answer: Any, worker: _Worker, task: Task | None) -> None:
        """Take what a worker answers, or find out that it ended."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(answer)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", error)
            if task is None:
                raise _cannot_load(cause, self._orders.plan.model) from error
            found = failure(cause)
        except errors.RayError as error:
            self._lose(worker, task, one_line(error))
            return
        self._idle.append(worker)
        if task is None:
            worker.pid = found
            self._lost_loading = 0
            if not self._ready:
                self._progress.begin()
            self._ready += 1
        elif isinstance(found, Made):
            self._agenda.made(task, found)
        else:
            self._agenda.failed(task, found)

    def _hand_out(self) -> None:
        while self._idle and (task := self._agenda.next()):
            worker = self._idle.pop()
            self._agenda.started(task, worker.pid)
            answer = worker.actor.make.remote(task.item, task.replace, self._agenda.notes(task))
            self._pending[answer] = worker, task

    def _lose(self, worker: _Worker, task: Task | None, reason: str) -> None:
        """Replace a worker that ended, if there is still something to do for it."""
        self._end(worker)  # It may be out of reach only.
        if task is not None:
            self._agenda.lost(task, reason)
        else:
            self._lost_loading += 1
            if self._lost_loading >= MOST_LOST_LOADING:
                raise BackendError(
                    f"{self._lost_loading} workers of Ray ended while they loaded "
                    f"{self._orders.plan.model}: {reason}",
                    "fewer --workers, if memory was short; Ray's logs are in /tmp/ray/session_latest/logs",
                )
        if not self._agenda.empty and not self._idle:
            self._start()

    def _end(self, worker: _Worker) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(worker.actor)


def _import_ray() -> ModuleType:
    os.environ.update(_QUIET)
    try:
        import ray
    except ImportError:
        raise BackendError(
            "the engine ray needs the package ray; found none", "pip install 'navicache[ray]'"
        ) from None
    return ray


def _knock(address: str) -> None:
    """Find out in seconds whether anybody listens at host:port; Ray itself tries for minutes, deaf to Ctrl-C.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():  # else a name that Ray looks up, such as "auto"
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _connect(ray: ModuleType, cluster: Cluster) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not cluster.address:
        quiet.update(
            num_cpus=cluster.workers or own_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    # Ray prints what it thinks of lost workers to standard output, where our JSON goes; no setting stops it.
    with suppress(AttributeError):
        ray._private.worker.print_worker_logs = lambda *_, **__: None
    try:
        _knock(cluster.address)
        # "local" starts one of its own, whatever RAY_ADDRESS says.
        ray.init(address=cluster.address or "local", **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        what, mend = "start Ray on this machine", "use --engine serial"
        if cluster.address:
            what, mend = f"reach Ray at {cluster.address}", "`ray status` there; or drop --ray-address"
        raise BackendError(f"cannot {what}: {one_line(error)}", mend) from error


def _cannot_load(cause: BaseException, model: str) -> NavicacheError:
    if isinstance(cause, NavicacheError):
        return cause
    return BackendError(
        f"a worker of Ray cannot load {model}: {type(cause).__name__}: {one_line(cause)}",
        "navicache doctor, on that machine",
    )
