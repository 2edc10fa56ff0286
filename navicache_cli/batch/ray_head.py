"""Ray on this machine, for one batch: a process of its own that Ray's others belong to.

Run by `ray_session` in a process group of its own. It starts Ray, says where on standard output, and when its
standard input ends, as it does however the program ends that holds the other end, it kills the whole group.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from navicache_cli.errors import one_line


def main() -> None:
    """Start Ray with the options of the first argument, JSON, and wait for the end."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    watching = threading.Thread(target=_end_with_input, args=(options["_temp_dir"],))
    watching.start()
    answer, sys.stdout = sys.stdout, sys.stderr  # Ray writes to the latter, too.
    print(json.dumps(_start(options)), file=answer, flush=True)
    watching.join()


def _start(options: dict[str, Any]) -> dict[str, str]:
    import ray

    try:
        # Ray's dashboard has a process even where none is asked for, which looks for the cloud it is in. On a
        # port that is taken it does not start.
        with socket.create_server(("127.0.0.1", 0)) as taken:
            # "local" starts one of its own, whatever RAY_ADDRESS says.
            ray.init(address="local", dashboard_port=taken.getsockname()[1], **options)
        return {"address": ray.get_runtime_context().gcs_address}
    except Exception as error:  # Some of Ray's are of no other class.
        return {"error": one_line(error)}


def _end_with_input(folder: str) -> None:
    """Kill the group and remove the folder once standard input ends: whoever had its other end was killed."""
    sys.stdin.buffer.read()
    with suppress(ImportError):
        import psutil  # It comes with Ray.

        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                process.kill()  # first, as they write into the folder
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
