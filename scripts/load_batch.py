"""Put load on `navicache batch` with `tiny` and measure what holds: `python scripts/load_batch.py`.

- scaling: the same videos one after the other on one core, and by `--engine ray` with several workers; the
  efficiency is the workers' throughput over as many times that of one core.
- memory: how far the peak of a process grew after the first fifth of its videos.
- kills: kill -9 at random times, each followed by the same command again, the engines taking turns; then to
  the end. Counted: records without their file (lost), videos made twice, hidden files left, videos that do
  not decode, those whose bytes differ from an uninterrupted run's, and processes that still run.
- manifest: seconds to open one of 100,000 videos.

Prints JSON. `--part` measures one of them, `--engines serial` without Ray. Memory looks at the videos of
scaling and kills compares with them: they are then made too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from navicache_cli.batch.manifest import DONE, STARTED, VERSION, Manifest
from navicache_cli.errors import OutputError
from navicache_cli.files import sha256_of
from navicache_cli.media.video import read_video

PARTS = ("scaling", "memory", "kills", "manifest")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
SHAPES = ("circle", "square", "triangle", "star", "ring")
MOTIONS = ("moving right", "moving left", "moving up", "moving down", "growing", "shrinking", "still")
GROUNDS = ("dark", "light", "dark striped", "light striped", "dark dotted", "light cloudy")
LONGEST = 3600.0  # seconds that one run of the program may take


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="videos of a run")
    parser.add_argument("--steps", type=int, default=6, help="denoising steps of a video")
    parser.add_argument("--workers", type=int, default=2, help="workers of ray")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=20, help="most seconds before a kill")
    parser.add_argument("--engines", default="serial,ray", help="serial, or serial,ray")
    parser.add_argument("--manifest-videos", type=int, default=100_000)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the times of kills")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS
    with tempfile.TemporaryDirectory(prefix="navicache-load-") as name:
        print(json.dumps(measure(Path(name), arguments, parts), indent=1))


def measure(folder: Path, arguments: argparse.Namespace, parts: Sequence[str]) -> dict[str, Any]:
    """Run what is asked for in an empty folder."""
    write_prompts(folder / "prompts.txt", arguments.count)
    found: dict[str, Any] = {"videos": arguments.count, "steps": arguments.steps, "cores": os.cpu_count()}
    if set(parts) - {"manifest"}:
        runs = scale(folder, arguments)
        if "scaling" in parts:
            found["scaling"] = runs
        if "memory" in parts:
            found["memory"] = {name: memory_growth(folder / name) for name in arguments.engines.split(",")}
        if "kills" in parts:
            found["kills"] = kill_and_resume(folder, arguments)
    if "manifest" in parts:
        found["manifest"] = open_manifest(folder / "big", arguments.manifest_videos)
    return found


def write_prompts(path: Path, count: int) -> None:
    """Write so many different prompts."""
    scenes = itertools.product(COLOURS, SHAPES, MOTIONS, GROUNDS)
    prompts = [f"a {one} {shape} {motion} on a {ground} background" for one, shape, motion, ground in scenes]
    # All colours and shapes among the first ones, too.
    random.Random(1).shuffle(prompts)
    path.write_text("\n".join(prompts[:count]) + "\n")


def command(output: str, arguments: argparse.Namespace, engine: str) -> list[str]:
    """Return the command of a batch."""
    further = ["--engine", "ray", "--workers", str(arguments.workers)] if engine == "ray" else []
    return [
        sys.executable, "-m", "navicache_cli", "batch", "prompts.txt", "--output-dir", output, "--quiet",
        "--steps", str(arguments.steps), "--align-steps", "2", *further,
    ]  # fmt: skip


def one_thread() -> dict[str, str]:
    """Return the environment of all runs: more threads add up in another order, and last bits differ."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def scale(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make all videos on one core, and by several workers on one core each."""
    found: dict[str, Any] = {"workers": arguments.workers}
    for engine in arguments.engines.split(","):
        began = time.perf_counter()
        line = command(engine, arguments, engine)
        subprocess.run(line, cwd=folder, env=one_thread(), check=True, timeout=LONGEST)
        times = [record["at"] for record in records(folder / engine)]
        found[engine] = {
            "seconds_in_all": round(time.perf_counter() - began, 1),
            "videos_a_minute": round(60 * arguments.count / (max(times) - min(times)), 1),
        }
    if "ray" in found:
        rates = [found[engine]["videos_a_minute"] for engine in ("serial", "ray")]
        found["efficiency"] = round(rates[1] / (arguments.workers * rates[0]), 3)
    return found


def records(output: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a manifest, in order."""
    lines = (output / "manifest.jsonl").read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def memory_growth(output: Path) -> dict[str, float]:
    """Return the peak after the first fifth of a process's videos, and how far it grew since, in MiB."""
    by_process: dict[int, list[int]] = {}
    for record in records(output):
        if record["state"] == STARTED:
            report = output / "reports" / f"{record['name'].removesuffix('.mp4')}.json"
            peak = json.loads(report.read_text())["totals"]["peak_memory_bytes"]
            by_process.setdefault(record["pid"], []).append(peak)
    early = {pid: peaks[len(peaks) // 5] for pid, peaks in by_process.items()}
    growth = max(peaks[-1] - early[pid] for pid, peaks in by_process.items())
    return {"early_mib": round(max(early.values()) / 2**20, 1), "growth_mib": round(growth / 2**20, 1)}


def kill_and_resume(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill the program at random times, start it again each time, and look at what came of it."""
    output, draw = folder / "killed", random.Random(arguments.seed)
    engines = itertools.cycle(arguments.engines.split(","))
    kills, lost = 0, 0
    for _ in range(arguments.kills):
        process = subprocess.Popen(command("killed", arguments, next(engines)), cwd=folder, env=one_thread())
        try:
            process.wait(timeout=draw.uniform(0.5, arguments.longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        lost += count_lost(output)
    line = command("killed", arguments, next(engines))
    subprocess.run(line, cwd=folder, env=one_thread(), check=True, timeout=LONGEST)
    written = records(output)
    made = Counter(record["name"] for record in written if record["state"] == DONE)
    videos = sorted(path for path in (output / "videos").iterdir() if path.suffix == ".mp4")
    reference = folder / "serial/videos"
    time.sleep(1)  # Processes of Ray end on their own when that of the batch is killed.
    return {
        "kills": kills,
        "videos": len(videos),
        "lost": lost + count_lost(output) + arguments.count - len(made),
        "made_twice": sum(number - 1 for number in made.values()),
        "hidden_files": sum(path.name.startswith(".") for path in output.rglob("*")),
        "not_decoded": sum(not decodes(path) for path in videos),
        "different": sum(sha256_of(path) != sha256_of(reference / path.name) for path in videos),
        "still_running": sum(map(is_running, {record["pid"] for record in written})),
    }


def is_running(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def count_lost(output: Path) -> int:
    """Count records of finished videos whose file is not there as recorded."""
    if not (output / "manifest.jsonl").exists():
        return 0
    done = {record["name"]: record["video"] for record in records(output) if record["state"] == DONE}
    return sum(sha256_of(output / "videos" / name) != digest for name, digest in done.items())


def decodes(path: Path) -> bool:
    """Whether a video can be read, and has frames."""
    try:
        return len(read_video(path)[0]) > 0
    except OutputError:
        return False


def open_manifest(output: Path, count: int) -> dict[str, float]:
    """Write a manifest of so many videos, two lines each, and take the time of opening it."""
    output.mkdir()
    facts = {"run": 1, "at": 1.7e9, "pid": 12345, "settings": "0" * 32, "attempt": 1}
    done = {"video": "0" * 64, "steps": 50, "skipped": 26, "seconds": 123.456}
    with (output / "manifest.jsonl").open("w") as file:
        for i in range(count):
            name = f"A beautiful coastal beach in spring, waves lapping on sand, number {i}-0.mp4"
            report = f"reports/{name.removesuffix('.mp4')}.json"
            for state, more in ((STARTED, {}), (DONE, {**done, "report": report})):
                record = {"version": VERSION, "name": name, "state": state, **facts, **more}
                file.write(json.dumps(record) + "\n")
    began = time.perf_counter()
    with Manifest(output, (1, 1)) as manifest:
        seconds = time.perf_counter() - began
    return {"videos": len(manifest.records), "seconds": round(seconds, 2)}


if __name__ == "__main__":
    main()
