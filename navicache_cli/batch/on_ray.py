"""The engine `ray`: worker processes that share one queue, on this machine or on a cluster.

There is a worker for each GPU, or several on a CPU. They make videos and say what they made; this process
hands out the items and alone writes the manifest. A worker that ends, however it does, is replaced, and its
item goes back to the front of the queue.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import NavicacheError, UsageError, one_line
from ..terminal import show_note
from .agenda import Agenda, Task
from .folder import Folder
from .making import Made, failure
from .ray_session import Cluster, RayFailedError, connected, own_cores
from .ray_worker import Maker, Orders, identify

if TYPE_CHECKING:
    from ..plan import Plan
    from .progress import BatchProgress

MOST_LOST_LOADING = 3  # workers that end one after the other without having loaded the model
# Seconds without any worker's process after which the user is told, and the batch ends. On this machine Ray
# starts one in seconds; those of a cluster may be taken, or its machines still be starting.
PATIENCE, MOST_HERE, MOST_ON_A_CLUSTER = 60.0, 180.0, 900.0
MOST_TO_ANSWER = 60.0  # seconds to fetch an answer that is there


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
    progress.start("starting Ray")
    engine = None
    try:
        with connected(cluster) as ray:
            resources = ray.cluster_resources()
            kind = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
            workers = min(count_workers(cluster, kind, int(resources.get(kind, 0))), count)
            # Each asks for one core, whatever it uses: as many as there are cores fit on any machines.
            maker = ray.remote(Maker).options(**{f"num_{kind.lower()}s": 1, "scheduling_strategy": "SPREAD"})
            cores = int(resources.get("CPU", 1)) if cluster.address else own_cores()
            orders = _orders(cluster, plan, folder, threads_each(cores, workers))
            engine = _Engine(ray, maker, orders, agenda, progress)
            try:
                engine.work(workers, MOST_ON_A_CLUSTER if cluster.address else MOST_HERE)
            finally:
                engine.stop()
    finally:
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


def threads_each(cores: int, workers: int) -> int:
    """Return how many threads a worker gets of the cores that all share, at most OMP_NUM_THREADS."""
    share = max(1, cores // workers)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdigit() and int(limit) else share


def _orders(cluster: Cluster, plan: Plan, folder: Folder, threads: int) -> Orders:
    where = {name: value for name, value in os.environ.items() if name.startswith(("NAVICACHE_", "OMP_"))}
    identity = identify(folder.root) if cluster.address else ""
    return Orders(plan, folder, os.getcwd(), identity, threads, where)


@dataclass
class _Worker:
    """A process of Ray, and its number once it runs."""

    actor: Any
    pid: int = 0


class _Engine:
    """Workers, and what each is at: a task, or None while it starts and loads the model."""

    def __init__(
        self, ray: ModuleType, maker: Any, orders: Orders, agenda: Agenda, progress: BatchProgress
    ) -> None:
        self._ray, self._maker, self._orders = ray, maker, orders
        self._agenda, self._progress = agenda, progress
        self._pending: dict[Any, tuple[_Worker, Task | None]] = {}
        self._idle: list[_Worker] = []
        self._lost_loading, self._began = 0, False

    def work(self, workers: int, most_without: float) -> None:
        """Start so many workers and do all tasks; give up after `most_without` seconds without a worker."""
        self._progress.start(f"starting {workers} worker{'s' if workers > 1 else ''}")
        for _ in range(workers):
            self._start()
        since, told = time.monotonic(), False
        while self._is_open():
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for answer in done:
                self._settle(answer, *self._pending.pop(answer))
                self._hand_out()
            if any(worker.pid for worker in self._workers()):
                since, told = time.monotonic(), False
            waited = time.monotonic() - since
            if waited > most_without:
                raise RayFailedError(
                    f"expected a worker of Ray within {most_without:.0f} s; found none started",
                    "`ray status` shows what its machines do; fewer --workers, or --engine serial",
                )
            if waited > PATIENCE and not told:
                show_note("no worker of Ray has started yet; `ray status` shows what its machines do")
                told = True

    def stop(self) -> None:
        """End all workers at once."""
        for worker in self._workers():
            self._end(worker)

    def _workers(self) -> list[_Worker]:
        return [*self._idle, *(worker for worker, _ in self._pending.values())]

    def _is_open(self) -> bool:
        at_work = any(task is not None for _, task in self._pending.values())
        return bool(self._pending) and (at_work or not self._agenda.empty)

    def _start(self) -> None:
        worker = _Worker(self._maker.remote())
        self._pending[worker.actor.hello.remote()] = worker, None

    def _settle(self, answer: Any, worker: _Worker, task: Task | None) -> None:
        """Take what a worker answers, or find out that it ended."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(answer, timeout=MOST_TO_ANSWER)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", error)
            if task is None:
                raise _cannot_load(cause, self._orders.plan.model) from error
            found = failure(cause)
        except errors.RayError as error:
            self._lose(worker, task, one_line(error))
            return
        if not worker.pid:
            worker.pid = found
            self._pending[worker.actor.load.remote(self._orders)] = worker, None
            return
        self._idle.append(worker)
        if task is None:
            self._lost_loading = 0
            if not self._began:
                self._progress.begin()
            self._began = True
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
                raise RayFailedError(
                    f"{self._lost_loading} workers of Ray ended while they loaded "
                    f"{self._orders.plan.model}: {reason}",
                    "fewer --workers, if memory was short",
                )
        if not self._agenda.empty and not self._idle:
            self._start()

    def _end(self, worker: _Worker) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(worker.actor)


def _cannot_load(cause: BaseException, model: str) -> NavicacheError:
    if isinstance(cause, NavicacheError):
        return cause
    return RayFailedError(
        f"a worker of Ray cannot load {model}: {type(cause).__name__}: {one_line(cause)}",
        "navicache doctor, on that machine",
    )
