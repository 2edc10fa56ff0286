"""What a step costs in diffusers' own WanPipeline: `python scripts/measure_library.py`.

Exports `tiny`, loads it twice with `WanPipeline.from_pretrained`, compiles the transformer of one of the two
(`torch.compile`, its default backend, `fullgraph=True`), and makes the same video bare, under `method="off"`
and under `speedup=2`, in turns. Prints the CPU time of a computed and of a skipped step, the solver included:
medians over the steps of a run, then over the runs. Then says how many graphs were compiled for the bare
pipeline and how many more were for the cached ones. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from diffusers.utils import logging
from rich.progress import track

import backends.tiny.exported  # noqa: F401  where diffusers finds the classes
import navicache
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.export import export
from navicache_cli.terminal import stderr

STEPS = 50
SIZE = {"height": 64, "width": 64, "num_frames": 17, "guidance_scale": 4.0, "output_type": "latent"}
CACHES: dict[str, dict[str, Any]] = {
    "bare": {},
    '`method="off"`': {"method": "off"},
    "`speedup=2`": {"speedup": 2},
}
Compiler = Callable[..., Any]


class Graphs:
    """The default compiler of `torch.compile`, which counts the graphs that it is given."""

    def __init__(self) -> None:
        self.count = 0
        self._compiler: Compiler = torch._dynamo.lookup_backend("inductor")

    def __call__(self, graph: Any, inputs: list[torch.Tensor]) -> Any:
        self.count += 1
        return self._compiler(graph, inputs)


def load(folder: Path, compiler: Compiler | None = None) -> Any:
    """The exported pipeline, compiled where a compiler is given."""
    pipe = WanPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    if compiler is not None:
        pipe.transformer.compile(backend=compiler, fullgraph=True)
    return pipe


def make(pipe: Any, cache: dict[str, Any], steps: int = STEPS) -> tuple[list[float], list[bool]]:
    """Make one video.

    Returns:
        CPU seconds of each step but the first, which the set-up of the call comes before; and whether the
        transformer ran in them.
    """
    ends: list[float] = []

    def step_ended(*_: Any) -> dict[str, Any]:
        ends.append(time.process_time())
        return {}

    noise = torch.Generator().manual_seed(0)
    with navicache.cached(pipe, **cache) if cache else nullcontext() as handle:
        pipe(
            "a red circle moving right", num_inference_steps=steps, generator=noise,
            callback_on_step_end=step_ended, **SIZE,
        )  # fmt: skip
    ran = [True] * steps if handle is None else [step.computed for step in handle.report().loops[0].steps]
    return [after - before for before, after in pairwise(ends)], ran[1:]


class Costs:
    """What the runs of one cache took."""

    def __init__(self) -> None:
        self._computed: list[float] = []
        self._skipped: list[float] = []
        self._steps: list[float] = []

    def add(self, seconds: list[float], ran: list[bool]) -> None:
        """Of one run: CPU seconds a step, and which steps ran the transformer."""
        pairs = list(zip(seconds, ran, strict=True))
        self._computed.append(statistics.median(took for took, computed in pairs if computed))
        if not all(ran):
            self._skipped.append(statistics.median(took for took, computed in pairs if not computed))
        self._steps.append(statistics.fmean(seconds))

    @property
    def computed(self) -> float:
        """Median CPU seconds of a computed step."""
        return statistics.median(self._computed)

    @property
    def average(self) -> float:
        """Median over the runs of the mean CPU seconds of a step."""
        return statistics.median(self._steps)

    def cells(self, bare: Costs) -> list[str]:
        """Of a row: a computed step, also to that of `bare`; a skipped one; all steps, to those of `bare`."""
        skipped = f"{1e3 * statistics.median(self._skipped):.2f} ms" if self._skipped else "–"
        return [
            f"{1e3 * self.computed:.1f} ms ({self.computed / bare.computed:.2f})",
            skipped,
            f"{self.average / bare.average:.2f}",
        ]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    logging.set_verbosity_error()  # not that parts are of classes the pipeline does not expect, ...
    logging.disable_progress_bar()  # ... nor each part that is loaded
    torch.set_num_threads(1)
    graphs = Graphs()
    with tempfile.TemporaryDirectory() as scratch:
        export(TinyPipeline(shipped_weights(), device="cpu"), Path(scratch) / "tiny")
        pipes = {"no": load(Path(scratch) / "tiny"), "yes": load(Path(scratch) / "tiny", graphs)}
    for pipe in pipes.values():  # the first call compiles
        make(pipe, {}, steps=2)
    graphs_bare = graphs.count
    costs = {(compiled, cache): Costs() for compiled in pipes for cache in CACHES}
    for _ in track(range(runs), "runs", console=stderr):
        for compiled, cache in costs:
            costs[compiled, cache].add(*make(pipes[compiled], CACHES[cache]))
    print("| compiled | | computed step | skipped step | all steps |\n|---|---|---|---|---|")
    for (compiled, cache), cost in costs.items():
        print(f"| {' | '.join([compiled, cache, *cost.cells(costs[compiled, 'bare'])])} |")
    print(f"\nGraphs compiled: {graphs_bare} for the bare pipeline, {graphs.count - graphs_bare} more.")


if __name__ == "__main__":
    main()
