"""Ray itself: started on this machine for one batch, or reached at an address; left again on every way out.

Ray waits in many places, some of them minutes and deaf to Ctrl-C. Here all of that is bounded. What it
starts on this machine ends with this process, however that ends: Ray has the kernel see to it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import BackendError, one_line

MOST_TO_START = 120.0  # seconds; of Ray's own waits together
MOST_TO_END = 20.0
OBJECT_STORE_BYTES = 100 * 2**20  # little more than the least Ray takes: only small messages pass
# Ray and its processes read these when they start; what the user has set goes first.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tries to reach Ray; it would make 20, and one takes 6 seconds, or 41 where nothing comes back.
    "RAY_NUM_REDIS_GET_RETRIES": "2",
}
# Its warnings of these tries would go to standard error; of what it starts here, to its logs.
_SETTINGS_THERE = {"RAY_BACKEND_LOG_LEVEL": "error"}
_SETTINGS_HERE = {
    # No process but the workers that are asked for.
    "RAY_prestart_worker_first_driver": "0",
    # By its name for other systems: everything at the loopback address, whatever networks there are.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@dataclass(frozen=True)
class Cluster:
    """Where to work: `workers` None is one for each GPU, or CPU core; `address` None is this machine."""

    workers: int | None = None
    address: str | None = None


class RayFailedError(BackendError):
    """Ray itself, or what runs in its processes, failed: where it was started here, its logs are kept."""


class TimeIsUp(BaseException):
    """No `Exception`: Ray's loops catch those, and try again."""


def check_ray() -> None:
    """Check that Ray is installed.

    Raises:
        BackendError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise _no_ray()


@contextmanager
def connected(cluster: Cluster) -> Iterator[ModuleType]:
    """Yield the module `ray`, connected; what was started for this is ended afterwards.

    Raises:
        BackendError: Ray is not installed.
        RayFailedError: it cannot be started or reached; or from the block, with the place of the logs added.
    """
    ray = _import_ray(cluster)
    # Not in the user's folder of temporary files: paths of sockets have little more than 100 characters.
    base = "/tmp" if os.path.isdir("/tmp") else None
    logs = None if cluster.address else Path(tempfile.mkdtemp(prefix="navicache-ray-", dir=base))
    others = _children()
    try:
        try:
            _connect(ray, cluster, logs)
            yield ray
        finally:
            _leave(ray, others)
    except RayFailedError as error:
        if logs is None:
            raise
        hint = f"{error.hint}; Ray's logs are in {logs}/session_latest/logs"
        logs = None  # They stay.
        raise RayFailedError(error.message, hint) from error
    finally:
        if logs is not None:
            shutil.rmtree(logs, ignore_errors=True)


def own_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _import_ray(cluster: Cluster) -> ModuleType:
    # A token for this run alone; Ray would write one into the home folder.
    here = {**_SETTINGS_HERE, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    settings = {**_SETTINGS, **(_SETTINGS_THERE if cluster.address else here)}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise _no_ray() from None
    return ray


def _no_ray() -> BackendError:
    return BackendError("the engine ray needs the package ray; found none", "pip install 'navicache[ray]'")


def _connect(ray: ModuleType, cluster: Cluster, logs: Path | None) -> None:
    """Start or reach Ray.

    Raises:
        RayFailedError: it cannot be done, or not in `MOST_TO_START`.
    """
    what, mend = "start Ray on this machine", "--engine serial"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    if cluster.address:
        what, mend = f"reach Ray at {cluster.address}", "`ray status` there; or drop --ray-address"
    else:
        options.update(
            num_cpus=cluster.workers or own_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(logs),
        )
    # Ray prints what it thinks of lost workers to standard output, where our JSON goes; no setting stops it.
    with suppress(AttributeError):
        ray._private.worker.print_worker_logs = lambda *_, **__: None
    try:
        with at_most(MOST_TO_START):
            if cluster.address:
                _knock(ray, cluster.address)
            # "local" starts one of its own, whatever RAY_ADDRESS says.
            ray.init(address=cluster.address or "local", **options)
    except TimeIsUp:
        raise RayFailedError(f"cannot {what}: no answer within {MOST_TO_START:.0f} s", mend) from None
    except Exception as error:  # Some of Ray's are of no other class.
        raise RayFailedError(f"cannot {what}: {one_line(error)}", mend) from error


def _leave(ray: ModuleType, others: set[Any]) -> None:
    """End Ray or leave it, and kill what is left of this process's children but `others`.

    If its start was interrupted, Ray does not know of what it started.
    """
    import psutil

    started = _children() - others
    with suppress(TimeIsUp), at_most(MOST_TO_END):
        ray.shutdown()
    for process in started:
        with suppress(psutil.Error):  # It has ended.
            process.kill()
    psutil.wait_procs(started, timeout=5)


def _children() -> set[Any]:
    """Return the processes that this one started, and theirs."""
    import psutil  # It comes with Ray.

    return set(psutil.Process().children(recursive=True))


def _knock(ray: ModuleType, address: str) -> None:
    """Find out at once whether anybody listens at host:port; Ray would try again and again.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():  # a name that Ray looks up, such as "auto"
        return
    host = host.strip("[]")
    if host in (
        "localhost",
        "127.0.0.1",
        "::1",
    ):  # Ray goes to this machine's address on the network instead.
        host = ray.util.get_node_ip_address()
    socket.create_connection((host, int(port)), timeout=5).close()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in the block after so many seconds; not on Windows, which has no such alarm.

    That, and Ctrl-C, is raised at its end again if it was lost in a callback: Python only prints what is
    raised in one of Ray's, in `__del__`, or as a process forks. As nothing is lost, nothing is printed.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[type[BaseException]] = []

    def ring(number: int, _: object) -> None:
        came.append(KeyboardInterrupt if number == signal.SIGINT else TimeIsUp)
        raise came[-1]

    def tell(lost: Any) -> None:
        if lost.exc_type not in came:
            tell_before(lost)

    numbers = [signal.SIGALRM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored, say
        numbers.append(signal.SIGINT)
    tell_before, sys.unraisablehook = sys.unraisablehook, tell
    before = [signal.signal(number, ring) for number in numbers]
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Exception:
        if not came:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        sys.unraisablehook = tell_before
    if came:
        raise came[0]
