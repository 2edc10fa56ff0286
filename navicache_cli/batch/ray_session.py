"""Ray itself: started on this machine for one batch, or reached at an address; left again on every way out.

Ray waits in many places, some of them minutes and deaf to signals, and has handlers of its own for these: it
gets threads, and this program waits for them no longer than it likes. What it starts on this machine is a
process group that ends with this program, however that ends; see `ray_head`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, TypeVar

from navicache_cli.errors import BackendError, one_line

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
_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
# Modules are looked for where this program has its own, and not in the user's folder.
_HEAD = """
import sys
sys.path[:1] = []
sys.path.append(sys.argv.pop(1))
from navicache_cli.batch.ray_head import main
main()
"""
_ray_at_work = threading.Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class Cluster:
    """Where to work: `workers` None is one for each GPU, or CPU core; `address` None is this machine."""

    workers: int | None = None
    address: str | None = None


class TooLateError(Exception):
    """Ray has not done what it was asked for in the time it has for that."""


class RayFailedError(BackendError):
    """Ray itself, or what runs in its processes, failed: where it was started here, its logs are kept."""


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
    with ExitStack() as stack:
        # Ray prints what it thinks of lost workers to standard output, where our JSON goes.
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(nowhere))
        if cluster.address:
            what, hint = f"reach Ray at {cluster.address}", "`ray status` there; or drop --ray-address"
        else:
            what, hint = "start Ray on this machine", "--engine serial"
            head = stack.enter_context(_started_here(cluster))
        try:
            address = cluster.address or within(MOST_TO_START, lambda: _address_of(head))
            stack.callback(_leave, ray)
            within(MOST_TO_START, lambda: _join(ray, address, knock=bool(cluster.address)))
        except TooLateError:
            raise RayFailedError(f"cannot {what}: no answer within {MOST_TO_START:.0f} s", hint) from None
        except Exception as error:  # Some of Ray's are of no other class.
            raise RayFailedError(f"cannot {what}: {one_line(error)}", hint) from error
        yield ray


def own_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do something in a thread and wait for it; signals are heard meanwhile.

    Raises:
        TooLateError: it takes longer. It goes on, for all that is known.
        Exception: what it raised.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    end = monotonic() + seconds
    while not wait([done], timeout=0.1).done:
        _take_back_signals()
        if monotonic() > end:
            raise TooLateError
    _take_back_signals()
    return done.result()


def _take_back_signals() -> None:
    """Have Python hear SIGTERM again: Ray's C++ takes it, prints where it is at, and dies."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _import_ray(cluster: Cluster) -> ModuleType:
    # A token for this run alone; Ray would write one into the home folder.
    here = {**_SETTINGS_HERE, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in {**_SETTINGS, **(_SETTINGS_THERE if cluster.address else here)}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise _no_ray() from None
    return ray


def _no_ray() -> BackendError:
    return BackendError("the engine ray needs the package ray; found none", "pip install 'navicache[ray]'")


@contextmanager
def _started_here(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """Start Ray on this machine and kill all of it at the end; its folder stays where Ray failed."""
    # Not in the user's folder of temporary files: paths of sockets have little more than 100 characters.
    base = "/tmp" if os.path.isdir("/tmp") else None
    folder = tempfile.mkdtemp(prefix="navicache-ray-", dir=base)
    options = {
        **_OPTIONS,
        "num_cpus": cluster.workers or own_cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": folder,
    }
    head = subprocess.Popen(
        [sys.executable, "-c", _HEAD, str(Path(__file__).parents[2]), json.dumps(options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    keep = False
    try:
        with head:
            try:
                yield head
            finally:
                with suppress(OSError):  # It is gone already.
                    os.killpg(head.pid, signal.SIGKILL)
    except RayFailedError as error:
        keep = True
        hint = f"{error.hint}; Ray's logs are in {folder}/session_latest/logs"
        raise RayFailedError(error.message, hint) from error
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _address_of(head: subprocess.Popen[bytes]) -> str:
    """Wait until Ray has started, and return its address.

    Raises:
        OSError: it cannot be started.
    """
    assert head.stdout is not None, "it is a pipe"
    answer = json.loads(head.stdout.readline() or '{"error": "its process has ended"}')
    if "error" in answer:
        raise OSError(answer["error"])
    return str(answer["address"])


def _join(ray: ModuleType, address: str, knock: bool) -> None:
    """Connect with a Ray that runs; `knock` to hear at once that nobody does."""
    with _ray_at_work:
        if knock:
            _knock(ray, address)
        ray.init(address=address, **_OPTIONS)


def _leave(ray: ModuleType) -> None:
    def shut_down() -> None:
        with _ray_at_work:  # after its start, which may have been given up
            ray.shutdown()

    with suppress(TooLateError):
        within(MOST_TO_END, shut_down)


def _knock(ray: ModuleType, address: str) -> None:
    """Find out at once whether anybody listens at host:port; Ray would try again and again.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():  # a name that Ray looks up, such as "auto"
        return
    host = host.strip("[]")
    if host in ("localhost", "127.0.0.1", "::1"):
        # Ray goes to this machine's address on the network instead.
        host = ray.util.get_node_ip_address()
    socket.create_connection((host, int(port)), timeout=5).close()
