"""The program in processes with its imports behind them: forks of one that imported it and computed nothing.

A fresh interpreter takes seconds of CPU time to import torch, again for every test that starts one. A fork is
a process of its own all the same, with its own arguments, folder, environment, streams and exit code. What an
interpreter reads as it starts (PYTHONUTF8, LC_ALL, OMP_NUM_THREADS …) needs a fresh one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# What generations import sooner or later; none of it reads a variable of `READ_LATE` while it is imported.
IMPORTED = (
    "torch", "torch._dynamo", "einops", "imageio_ffmpeg", "jsonschema", "msgspec", "omegaconf",
    "safetensors.torch", "backends.tiny.backend", "backends.tiny.codec", "backends.tiny.model",
    "backends.tiny.solvers", "backends.tiny.text", "navicache_cli.app", "navicache_cli.batch.batch",
    "navicache_cli.cache", "navicache_cli.compare.compare", "navicache_cli.run.generate",
    "navicache_cli.run.produce",
)  # fmt: skip
# How the names start of variables that are read while the program runs: a fork can be given others.
READ_LATE = (
    "NAVICACHE_", "XDG_", "HF_", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "COLUMNS", "HOME", "PATH", "RANK",
    "LOCAL_RANK", "WORLD_SIZE", "PYTEST_CURRENT_TEST", "GIT_", "PIP_",
    "FREE_GB", "GPU", "HUB", "UV_",  # of stand-ins
)  # fmt: skip
# Under `pytest -n`, workers share the cores: otherwise threads of one wait for those of another all the time.
# Read by torch when it is imported, here and in the processes that tests start.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
# What tests begin with, before any of them, or a library they import, sets others.
ENVIRONMENT = dict(os.environ)
PROGRAM = "import runpy\nrunpy.run_module('navicache_cli', run_name='__main__', alter_sys=True)"


def run(*arguments: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `navicache` with arguments until it ends; Python code in `before` runs first. See `python`."""
    return python(f"{before}\n{PROGRAM}", *arguments, **options)


def python(
    code: str, *arguments: str, cwd: Path, env: Mapping[str, str], input: str = "", timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `python -c code arguments` until it ends; in a fresh interpreter where the environment needs one.

    Args:
        code: what it runs.
        arguments: in `sys.argv`, from 1 on.
        cwd: the folder it runs in.
        env: its environment, whole.
        input: its standard input.
        timeout: seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    server, started_with = _server()
    if _need_a_fresh_one(env, started_with):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=cwd, env=env, input=input,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(input)
        request = {
            "code": code, "arguments": arguments, "cwd": str(cwd), "env": dict(env), "timeout": timeout,
            "streams": [str(stream) for stream in streams],
        }  # fmt: skip
        print(json.dumps(request), file=server.stdin, flush=True)
        exit_code = json.loads(server.stdout.readline())
        out, err = (stream.read_text() for stream in streams[1:])
    if exit_code is None:
        raise subprocess.TimeoutExpired(arguments, timeout, out, err)
    return subprocess.CompletedProcess(arguments, exit_code, out, err)


def _need_a_fresh_one(env: Mapping[str, str], started_with: Mapping[str, str]) -> bool:
    """Whether the interpreter itself reads what differs, or another navicache is to be imported."""
    early = (name for name in {*env, *started_with} if not name.startswith(READ_LATE))
    known, paths = (set(one.get("PYTHONPATH", "").split(os.pathsep)) for one in (started_with, env))
    return any(env.get(name) != started_with.get(name) for name in early) or any(
        Path(path, "navicache_cli").is_dir() for path in paths - known
    )


@cache
def _server() -> tuple[subprocess.Popen[str], dict[str, str]]:
    """The process that forks, one for as long as this one runs, and the environment it started with."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), ENVIRONMENT.get("PYTHONPATH", "")])
    environment = {**ENVIRONMENT, "PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    return process, environment


def _serve() -> None:
    """Answer each request with the exit code of a fork, null if it was killed; in a fork, run the program."""
    from navicache_cli.threads import let_waiting_threads_sleep

    let_waiting_threads_sleep()
    for name in IMPORTED:
        importlib.import_module(name)
    assert "huggingface_hub" not in sys.modules, "it reads HF_… while it is imported"
    gc.freeze()  # Otherwise each fork goes through, and so copies, all of it as it ends.
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            request = json.loads(line)
            process = os.fork()
            if process == 0:
                break
            print(json.dumps(_exit_code(process, request["timeout"])), file=answers, flush=True)
        else:
            return
    os._exit(_run_as(request))


def _exit_code(process: int, timeout: float) -> int | None:
    ended = os.pidfd_open(process)
    in_time, _, _ = select.select([ended], [], [], timeout)
    os.close(ended)
    if not in_time:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _run_as(request: dict[str, Any]) -> int:
    """Run the code with its arguments, folder, environment and streams; the exit code.

    At the end it does what an interpreter does, but for taking all of its modules apart.
    """
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for stream, path in enumerate(request["streams"]):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT if stream else os.O_RDONLY)
        os.dup2(opened, stream)
        os.close(opened)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *(path for path in paths if path and path not in sys.path)]
    sys.argv = ["-c", *request["arguments"]]
    code: Any = 0
    try:
        exec(request["code"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
