"""Hostile calls of every command, each in an empty folder of its own; what they broke is counted.

    python scripts/fuzz.py --count 1000 --seed 0
    python scripts/fuzz.py --seed 0 --case 17 --keep /tmp/case   # one again, its folder kept

Of every call is asked: no traceback, a documented exit code, a cause and a next step where it fails, no file
left over or changed, an end within 30 s and within 1 GiB, nothing raw on the terminal,
--json as JSON. For Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from fuzzing import calls, faults, forked, ground  # noqa: E402

PROMISES = (
    "traceback", "exit code", "no error line", "no next step", "two errors", "files", "time", "memory",
    "controls", "json",
    "processes",
)  # fmt: skip


def main() -> int:
    """Run the calls and show what they broke; 1 if anything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--keep", type=Path, help="keep the folders of failing calls here")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no more calls after so long"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    since = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        _import_what_is_slow()
        options = multiprocessing.Pool(1).apply(options_of_commands)
        made = make_ground(root)
        cases = range(chosen.count) if chosen.case is None else [chosen.case]
        results = []
        with multiprocessing.get_context("fork").Pool(chosen.workers, forked.adopt_orphans) as pool:
            work = partial(run_case, chosen.seed, root, made, options, chosen.keep)
            with contextlib.suppress(KeyboardInterrupt):  # then what was found so far is shown
                for result in pool.imap_unordered(work, cases):
                    results.append(result)
                    if time.perf_counter() - since > chosen.seconds:
                        break
    if chosen.case is not None:
        print(results[0]["line"], results[0]["said"], sep="\n")
    show(results, chosen.seed, time.perf_counter() - since)
    return int(any(result["faults"] for result in results))


def _import_what_is_slow() -> None:
    """Import what every call would wait for; the program itself is imported by each call."""
    import imageio.v3
    import imageio_ffmpeg
    import jsonschema
    import msgspec
    import numpy
    import omegaconf
    import rich.progress
    import safetensors.torch
    import torch
    import torch._dynamo
    import typer

    for name in ("matplotlib.pyplot", "diffusers"):
        try:
            if name.startswith("matplotlib"):
                import matplotlib

                matplotlib.use("Agg")
            __import__(name)
        except ImportError:
            pass
    del imageio, imageio_ffmpeg, jsonschema, msgspec, numpy, omegaconf, rich, safetensors, torch, typer


def options_of_commands() -> dict[str, calls.Options]:
    """The options of each command, and which of them are switches, as the program itself has them."""
    import typer

    from navicache_cli.app import app

    found: dict[str, calls.Options] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, one in getattr(command, "commands", {}).items():
            walk(one, (*words, name))
        if not hasattr(command, "commands"):
            found[" ".join(words)] = {
                name: bool(getattr(one, "is_flag", False))
                for one in command.params
                for name in (*one.opts, *one.secondary_opts)
                if name.startswith("-")
            }

    walk(typer.main.get_command(app), ())
    unknown = set(found) ^ set(calls.BASES)
    if unknown:
        raise SystemExit(f"commands and calls of them differ: {', '.join(sorted(unknown))}")
    return found


def environment_of(folder: Path) -> dict[str, str]:
    """Variables of a call: a home and a temporary folder of its own; few steps wherever nobody says."""
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    return {
        **kept, "HOME": str(folder), "TMPDIR": str(folder.with_name("temporary")), "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "MPLCONFIGDIR": str(folder.parents[1] / "matplotlib"), "COLUMNS": "100",
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": str(folder.with_name("cache")), "NAVICACHE_STEPS": "3",
        "NAVICACHE_PROMPT": "a red circle",
        "HF_HUB_OFFLINE": "1", "TERM": "xterm-256color",
    }  # fmt: skip


def make_ground(root: Path) -> Path:
    """Make the files that calls are made of, by the program itself."""
    folder = root / "ground"
    ground.write_given(folder)
    (root / "temporary").mkdir()
    for command in ground.COMMANDS:
        if command[0] == "eval":
            ground.collect_pairs(folder)
        call = calls.Call(-1, command[0], list(command))
        outcome = (
            multiprocessing.get_context("fork")
            .Pool(1)
            .apply(forked.run, (call, folder, environment_of(folder)))
        )
        if outcome.code:
            raise SystemExit(f"{shlex.join(command)}: {outcome.stderr.decode()}{outcome.unhandled}")
    return folder


def run_case(
    seed: int, root: Path, made: Path, options: dict[str, calls.Options], keep: Path | None, case: int
) -> dict[str, Any]:
    """Run one case, and look at what came of it."""
    own = root / str(case)
    own.mkdir()
    folder = own / "work"
    (own / "temporary").mkdir()
    ground.copy_ground(made, folder)
    call = calls.make_call(seed, case, folder, options)
    before = faults.look(folder)
    outcome = forked.run(call, folder, environment_of(folder))
    found = faults.faults(call, outcome, before, faults.look(folder), sorted(os.listdir(own / "temporary")))
    if found and keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(keep / str(case), ignore_errors=True)
        shutil.copytree(folder, keep / str(case), symlinks=True, ignore=_no_pipes)
    shutil.rmtree(own, ignore_errors=True)
    said = (outcome.stdout + outcome.stderr).decode(errors="replace") + outcome.unhandled
    return {
        "case": case, "command": call.command, "faults": found, "line": shell_line(call),
        "code": outcome.code,
        "said": said, "seconds": outcome.seconds, "memory": outcome.memory,
    }  # fmt: skip


def _no_pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not os.path.islink(path := os.path.join(folder, name)) and not (
        os.path.isfile(path) or os.path.isdir(path)
    )]  # fmt: skip


def shell_line(call: calls.Call) -> str:
    """The call as one would type it, and what is peculiar about its surroundings."""
    words = [f"{name}={shlex.quote(value)}" for name, value in call.environment.items()]
    words += ["navicache", *(shlex.quote(word[:80]) for word in call.arguments)]
    around = {"stdin": call.stdin, "stdout": call.stdout, "stderr": call.stderr}
    words += [f"[{name} {kind}]" for name, kind in around.items() if kind not in ("file", "null")]
    words += [f"[{name} {most}]" for name, most in call.limits.items()]
    words += [f"[{name}: {what}]" for name, what in call.spoilt.items()]
    return ascii(" ".join(words))[1:-1]


def show(results: list[dict[str, Any]], seed: int, seconds: float) -> None:
    """Print a row for each promise, and the calls that broke it, by cause."""
    counts = Counter(name for result in results for name in result["faults"])
    by_cause: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for result in sorted(results, key=lambda one: one["case"]):
        for name, cause in result["faults"].items():
            by_cause[name, ascii(cause)[1:-1]].append(result)
    for (name, cause), broken in sorted(
        by_cause.items(), key=lambda one: (PROMISES.index(one[0][0]), -len(one[1]))
    ):
        print(f"\n{name} ({len(broken)}): {cause}")
        for result in broken[:3]:
            print(
                f"  --seed {seed} --case {result['case']}: exit {result['code']}, "
                f"{result['seconds']:.1f} s: {result['line'][:400]}"
            )
    codes = Counter(result["code"] for result in results)
    commands = Counter(result["command"] for result in results)
    slowest = max(results, key=lambda one: one["seconds"])
    print(
        f"\n{len(results)} calls, seed {seed}, in {seconds:.0f} s; "
        f"{sum(bool(one['faults']) for one in results)} with faults"
    )
    print("exit codes: " + ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())))
    print("commands: " + ", ".join(f"{name} {count}" for name, count in commands.most_common()))
    print(
        f"longest {slowest['seconds']:.1f} s (case {slowest['case']}), "
        f"most memory {max(one['memory'] for one in results) >> 20} MiB"
    )
    for name in PROMISES:
        print(f"  {name:14} {counts[name]}")


if __name__ == "__main__":
    sys.exit(main())
