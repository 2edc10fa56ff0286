"""What runs in the processes of Ray: a loaded model that makes one video after the other."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli import __version__
from navicache_cli.batch.folder import Folder
from navicache_cli.batch.items import Item
from navicache_cli.batch.making import Made, failure, make
from navicache_cli.errors import BackendError, OutputError
from navicache_cli.files import TakenError, write_atomically
from navicache_cli.reading import read_utf8

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan

FOLDER_ID = "folder.id"  # on a cluster, by what is in it workers know that they see the driver's folder


@dataclass(frozen=True)
class Orders:
    """What every worker is told.

    Attributes:
        plan: of any item; what to load.
        folder: where videos and reports go.
        start: the folder that relative paths are from.
        folder_id: what is in the file FOLDER_ID, or "" where all are on one machine.
        threads: of the CPU, for each worker.
        environment: variables that say where models are, and what threads do.
        version: of navicache.
    """

    plan: Plan
    folder: Folder
    start: str
    folder_id: str
    threads: int
    environment: dict[str, str]
    version: str = __version__


@dataclass(frozen=True)
class Home:
    """Where a worker is: its process, the node as Ray names it, and the machine as people do."""

    pid: int
    node: str
    machine: str


class Maker:
    """Runs in a process of Ray: loads the model, then makes videos."""

    def hello(self) -> Home:
        """Say that this process is there, and where."""
        import ray

        return Home(os.getpid(), ray.get_runtime_context().get_node_id(), socket.gethostname())

    def load(self, orders: Orders) -> None:
        """Load the model.

        Raises:
            OutputError: the output folder is not the one that the driver sees.
            BackendError: another version of navicache; or as `Backend.load`.
            WeightsError: as `Backend.load`.
        """
        from backends.registry import get_backend

        if orders.version != __version__:
            raise BackendError(
                f"a Ray worker expected navicache {orders.version}, found {__version__}",
                "install the same version on all machines",
            )
        check_shared(orders)
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's; the user's is among what follows.
        os.environ.update(orders.environment)
        import torch

        torch.set_num_threads(orders.threads)
        self._folder = orders.folder
        self._pipeline = get_backend(orders.plan.model).load(orders.plan)

    def make(self, item: Item, replace: bool, notes: Sequence[str]) -> Made | dict[str, Any]:
        """Make a video; return what the manifest says of it, or of its failure."""
        try:
            return make(self._pipeline, self._folder, item, replace, notes, lambda *_: nullcontext(_ignore))
        except Exception as error:
            return failure(error)


def check_shared(orders: Orders) -> None:
    """Go to the folder that the driver was started in, and check that the output folder is the driver's.

    Raises:
        OutputError: it is not.
    """
    path = orders.folder.root / FOLDER_ID
    try:
        os.chdir(orders.start)
        fine = not orders.folder_id or read_utf8(path, most=1 << 10) == orders.folder_id
    except (OSError, ValueError):
        fine = False
    if not fine:
        raise OutputError(
            f"expected {orders.folder.root.absolute()} on a disk that all machines of the cluster share; "
            f"{socket.gethostname()} does not see it",
            "put --output-dir, and the folder you start from, on such a disk; or give each machine a --shard",
        )


def identify(root: Path) -> str:
    """Return what is in a folder's FOLDER_ID, written if need be."""
    path = root / FOLDER_ID
    with suppress(TakenError):
        write_atomically(path, secrets.token_hex(16), overwrite=False)
    try:
        return read_utf8(path, most=1 << 10)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}", "choose another --output-dir") from None


def _ignore(_: object) -> None:
    """Take the record of a step: nobody looks at the steps of a worker."""
