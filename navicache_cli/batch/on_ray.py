"""The engine `ray`: worker processes that share one queue, on this machine or on a cluster.

There is a worker for each GPU, or several on a CPU. They make videos and say what they made; this process
hands out the items and alone writes the manifest. A worker that ends, however it does, is replaced, and its
item goes back to the front of the queue; one that cannot load the model is not, and the others go on.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from navicache_cli.batch.agenda import Agenda, Task
from navicache_cli.batch.folder import Folder
from navicache_cli.batch.making import Made, failure
from navicache_cli.batch.ray_session import Cluster, RayFailedError, connected, own_cores
from navicache_cli.batch.ray_worker import Home, Maker, Orders, identify
from navicache_cli.errors import NavicacheError, UsageError, one_line
from navicache_cli.terminal import show_note

if TYPE_CHECKING:
    from navicache_cli.batch.progress import BatchProgress
    from navicache_cli.plan.plan import Plan

MOST_LOST_LOADING = 3  # workers that end, one after the other, on a machine without having loaded the model
# Seconds without any worker's process after which the user is told, and the batch ends. On this machine Ray
# starts one in seconds; those of a cluster may be taken, or its machines still be starting.
PATIENCE, MOST_HERE, MOST_ON_A_CLUSTER = 60.0, 180.0, 900.0


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
    with connected(cluster) as ray:
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
        workers = min(count_workers(cluster, kind, int(resources.get(kind, 0))), count)
        # Each asks for one core, whatever it uses: as many as there are cores fit on any machines.
        maker = ray.remote(**{f"num_{kind.lower()}s": 1})(Maker)
        cores = int(resources.get("CPU", 1)) if cluster.address else own_cores()
        orders = _orders(cluster, plan, folder, threads_each(cores, workers))
        engine = _Engine(ray, maker, orders, agenda, progress)
        try:
            engine.work(workers, MOST_ON_A_CLUSTER if cluster.address else MOST_HERE)
        finally:
            engine.stop()


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
    """A process of Ray, and where and what it is once it runs."""

    actor: Any
    home: Home | None = None


class _Engine:
    """Workers, and what each is at: a task, or None while it starts and loads the model."""

    def __init__(
        self, ray: ModuleType, maker: Any, orders: Orders, agenda: Agenda, progress: BatchProgress
    ) -> None:
        self._ray, self._maker, self._orders = ray, maker, orders
        self._agenda, self._progress = agenda, progress
        self._pending: dict[Future[Any], tuple[_Worker, Task | None]] = {}
        self._idle: list[_Worker] = []
        self._lost_loading: Counter[str] = Counter()  # by machine
        self._cannot_load: NavicacheError | None = None  # why a worker was not replaced
        self._told: set[str] = set()
        self._began = False

    def work(self, workers: int, most_without: float) -> None:
        """Start so many workers and do all tasks; give up after `most_without` seconds without a worker."""
        self._progress.start(f"starting {workers} worker{'s' if workers > 1 else ''}")
        for _ in range(workers):
            self._start()
        since, told = time.monotonic(), False
        while self._is_open():
            # Not `ray.wait`: there every signal becomes a Ctrl-C.
            for answer in wait(self._pending, timeout=1.0, return_when=FIRST_COMPLETED).done:
                self._settle(answer, *self._pending.pop(answer))
                self._hand_out()
            if any(worker.home for worker in self._workers()):
                since, told = time.monotonic(), False
            waited = time.monotonic() - since
            if waited > most_without:
                raise self._cannot_load or RayFailedError(
                    f"expected a Ray worker within {most_without:.0f} s; found none started",
                    "`ray status` shows what its machines do; fewer --workers, or --engine serial",
                )
            if waited > PATIENCE and not told:
                show_note("no Ray worker has started yet; `ray status` shows what its machines do")
                told = True
        if self._cannot_load and not self._agenda.empty:
            raise self._cannot_load

    def stop(self) -> None:
        """End all workers at once."""
        for worker in self._workers():
            self._end(worker)

    def _workers(self) -> list[_Worker]:
        return [*self._idle, *(worker for worker, _ in self._pending.values())]

    def _is_open(self) -> bool:
        at_work = any(task is not None for _, task in self._pending.values())
        return bool(self._pending) and (at_work or not self._agenda.empty)

    def _start(self, node: str = "") -> None:
        """Start a worker, at a node where one has just left room, or elsewhere if it is gone."""
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        strategy = affinity(node, soft=True) if node else "SPREAD"
        worker = _Worker(self._maker.options(scheduling_strategy=strategy).remote())
        self._await(worker.actor.hello.remote(), worker, None)

    def _await(self, answer: Any, worker: _Worker, task: Task | None) -> None:
        self._pending[answer.future()] = worker, task

    def _settle(self, answer: Future[Any], worker: _Worker, task: Task | None) -> None:
        """Take what a worker answers, or find out that it ended."""
        errors = self._ray.exceptions
        try:
            found = answer.result()
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", error)
            if task is None:
                self._set_aside(worker, _cannot_load(cause, self._orders.plan.model))
                return
            found = failure(cause)
        except errors.RayError as error:
            self._lose(worker, task, one_line(error))
            return
        if worker.home is None:
            worker.home = found
            self._await(worker.actor.load.remote(self._orders), worker, None)
            return
        self._idle.append(worker)
        if task is None:
            del self._lost_loading[worker.home.node]
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
            assert worker.home is not None, "it has loaded the model"
            self._agenda.started(task, worker.home.pid)
            answer = worker.actor.make.remote(task.item, task.replace, self._agenda.notes(task))
            self._await(answer, worker, task)

    def _lose(self, worker: _Worker, task: Task | None, reason: str) -> None:
        """Replace a worker that ended, if there is still something to do for it."""
        self._end(worker)  # It may be out of reach only.
        node = worker.home.node if worker.home else ""
        if task is not None:
            self._agenda.lost(task, reason)
        else:
            self._lost_loading[node] += 1
            if self._lost_loading[node] >= MOST_LOST_LOADING:
                error = RayFailedError(
                    f"{self._lost_loading[node]} Ray workers ended while they loaded "
                    f"{self._orders.plan.model}: {reason}",
                    "fewer --workers, if memory was short",
                )
                self._set_aside(worker, error)
                return
        if not self._agenda.empty and not self._idle:
            self._start(node)

    def _set_aside(self, worker: _Worker, error: NavicacheError) -> None:
        """Do without a worker that cannot load the model; where it was, another could not either."""
        self._end(worker)
        self._cannot_load = error
        place = worker.home.machine if worker.home else "a machine"
        note = f"a worker on {place} does not take part: {error.message}"
        if self._workers() and note not in self._told:
            self._told.add(note)
            show_note(note)

    def _end(self, worker: _Worker) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(worker.actor)


def _cannot_load(cause: BaseException, model: str) -> NavicacheError:
    if isinstance(cause, NavicacheError):
        return cause
    return RayFailedError(
        f"a Ray worker cannot load {model}: {type(cause).__name__}: {one_line(cause)}",
        "navicache doctor, on that machine",
    )
