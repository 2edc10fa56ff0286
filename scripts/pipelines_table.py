"""Which cache works on which diffusers pipeline: `python -m scripts.pipelines_table`.

Runs every pipeline of `tests/library/pipelines` (toy size, random weights, CPU) without a cache, with each
tool switched on, and after it was switched off. A tool *works* where fewer linear layers of the transformer
ran than without it, what was made is finite and differs from the video without a cache, and switching off
gives that video back bit by bit. Thresholds are lenient, so that whatever can skip does. Prints a Markdown
table; `--write docs/diffusers.md` puts it between that page's marks. Every cell runs in a process of its own,
since some tools change classes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from tests.library.pipelines.table import ROW
from tests.library.pipelines.toy import denoisers, run

STEPS = 12
SECONDS = 120.0
MARKS = ("<!-- pipelines -->", "<!-- end of pipelines -->")
SwitchOff = Callable[[], object]


def ours(pipe: Any) -> SwitchOff:
    """Half of the steps."""
    import navicache

    navicache.enable(pipe, speedup=2)
    return lambda: navicache.disable(pipe)


def of_diffusers(config_of: Callable[[], Any], apply: str) -> Callable[[Any], SwitchOff]:
    """A cache of diffusers, on every transformer of the pipeline.

    Args:
        config_of: makes the cache's configuration.
        apply: its function in `diffusers.hooks`, for models that lack `enable_cache`.
    """

    def enable(pipe: Any) -> SwitchOff:
        models: list[Any] = denoisers(pipe)
        for model in models:
            if hasattr(model, "enable_cache"):
                model.enable_cache(config_of())
            else:
                getattr(diffusers.hooks, apply)(model, config_of())
        return lambda: [_switch_off(model) for model in models]

    return enable


def _switch_off(model: Any) -> None:
    if hasattr(model, "disable_cache"):
        model.disable_cache()
        return
    for module in model.modules():
        if hasattr(module, "_diffusers_hook"):
            for name in list(module._diffusers_hook.hooks):
                module._diffusers_hook.remove_hook(name, recurse=False)


def first_block() -> Any:
    """First-block cache: it reuses whatever the change of the first block's residual."""
    from diffusers import FirstBlockCacheConfig

    return FirstBlockCacheConfig(threshold=1.0)


def magcache() -> Any:
    """MagCache, up to its three skips in a row."""
    from diffusers import MagCacheConfig

    # Ratios as of a model whose residual never changes: it skips as often as its other limits allow.
    return MagCacheConfig(num_inference_steps=STEPS, mag_ratios=[1.0] * STEPS)


def taylorseer() -> Any:
    """TaylorSeer with its own patterns of names, in the type that the toys compute in."""
    from diffusers import TaylorSeerCacheConfig

    return TaylorSeerCacheConfig(taylor_factors_dtype=torch.float32)


def seacache() -> Any:
    """SeaCache, up to its two skips in a row."""
    from diffusers import SeaCacheConfig

    return SeaCacheConfig(threshold=10.0)


def pab() -> Any:
    """Pyramid attention broadcast: every second attention of each kind."""
    from diffusers import PyramidAttentionBroadcastConfig

    always = (-1, 10**6)
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=2,
        cross_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=always,
        temporal_attention_timestep_skip_range=always,
        cross_attention_timestep_skip_range=always,
        # Within those ranges, also in pipelines that keep no timestep, or one for each frame.
        current_timestep_callback=lambda: 0,
    )


def cache_dit(pipe: Any) -> SwitchOff:
    """cache-dit's DBCache after two steps to warm up, with one block always computed."""
    # Read when it is imported; otherwise it writes its log to standard output.
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")
    import cache_dit as library

    library.enable_cache(
        pipe,
        cache_config=library.DBCacheConfig(
            Fn_compute_blocks=1, Bn_compute_blocks=0, max_warmup_steps=2, residual_diff_threshold=1.0
        ),
    )
    return lambda: library.disable_cache(pipe)


TOOLS: dict[str, Callable[[Any], SwitchOff]] = {
    "navicache": ours,
    "first-block cache": of_diffusers(first_block, "apply_first_block_cache"),
    "MagCache": of_diffusers(magcache, "apply_mag_cache"),
    "TaylorSeer": of_diffusers(taylorseer, "apply_taylorseer_cache"),
    "SeaCache": of_diffusers(seacache, "apply_sea_cache"),
    "PAB": of_diffusers(pab, "apply_pyramid_attention_broadcast"),
    "cache-dit": cache_dit,
}


@dataclass(frozen=True)
class Cell:
    """What one tool did on one pipeline.

    Attributes:
        verdict: "works", "does nothing", "wrong" or "stops".
        detail: of "works" the share of the linear layers' runs that were left; otherwise what went wrong.
    """

    verdict: str
    detail: str = ""


class Work:
    """Counts the runs of the linear layers in a pipeline's transformers, below whatever a cache binds."""

    def __init__(self, pipe: Any) -> None:
        self.runs = 0
        for model in denoisers(pipe):
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.register_forward_pre_hook(self._ran)

    def _ran(self, *_: Any) -> None:
        self.runs += 1

    def of(self, call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
        """What the call returns, and the runs it took."""
        before = self.runs
        made = call()
        return made, self.runs - before


def measure(name: str, tool: str) -> Cell:
    """Run one pipeline without the tool, with it, and after it."""
    toy = ROW[name]
    pipe = toy.build()
    work = Work(pipe)

    def call() -> torch.Tensor:
        return run(toy, pipe, steps=STEPS, output_type="latent")

    bare, all_runs = work.of(call)
    try:
        switch_off = TOOLS[tool](pipe)
        cached, runs = work.of(call)
    except Exception as error:
        return Cell("stops", f"{type(error).__name__}: {error}")
    if runs == all_runs and torch.equal(cached, bare):
        return Cell("does nothing")
    if not cached.isfinite().all() or runs >= all_runs or torch.equal(cached, bare):
        return Cell("wrong", f"{runs} of {all_runs} runs, finite {bool(cached.isfinite().all())}")
    try:
        switch_off()
        after, runs_after = work.of(call)
    except Exception as error:
        return Cell("wrong", f"after it was switched off: {type(error).__name__}: {error}")
    if runs_after != all_runs or not torch.equal(after, bare):
        return Cell("wrong", "does not switch off")
    return Cell("works", f"{runs / all_runs:.0%}")


def _answer(answers: Any, name: str, tool: str) -> None:
    answers.put(measure(name, tool))


def apart(name: str, tool: str) -> Cell:
    """`measure` in a fork that nothing outlives."""
    processes = multiprocessing.get_context("fork")
    answers = processes.Queue()
    worker = processes.Process(target=_answer, args=(answers, name, tool))
    worker.start()
    try:
        return answers.get(timeout=SECONDS)
    except queue.Empty:
        worker.kill()
        return Cell("stops", f"no answer within {SECONDS:.0f} s")
    finally:
        worker.join()


def table(cells: dict[tuple[str, str], Cell], names: Sequence[str], tools: Sequence[str]) -> str:
    """The Markdown table, with sums above and what stopped below."""
    reasons: dict[str, int] = {}

    def shown(cell: Cell) -> str:
        if cell.verdict == "works":
            return f"works, {cell.detail}"
        if cell.verdict == "does nothing":
            return "nothing"
        reason = " ".join(cell.detail.split())[:160]
        number = reasons.setdefault(reason, len(reasons) + 1)
        return f"{cell.verdict} ({number})"

    lines = [f"| | {' | '.join(tools)} |", f"|{'---|' * (len(tools) + 1)}"]
    for verdict in ("works", "does nothing", "wrong", "stops"):
        counts = [sum(cells[name, tool].verdict == verdict for name in names) for tool in tools]
        if any(counts):
            lines.append(
                f"| **{verdict}**, of {len(names)} | {' | '.join(str(count or '–') for count in counts)} |"
            )
    for name in names:
        lines.append(f"| `{name}` | {' | '.join(shown(cells[name, tool]) for tool in tools)} |")
    notes = [f"{number}. `{reason.replace('`', '')}`" for reason, number in reasons.items()]
    return "\n".join([*lines, "", *notes])


def put_into(page: Path, text: str) -> None:
    """Replace what is between the marks of a page."""
    start, end = MARKS
    before, _, rest = page.read_text().partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page}: expected the lines {start} and {end}, found no such pair")
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")


def main() -> None:
    """Measure, show progress on standard error, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ROW, default=list(ROW), metavar="PIPELINE")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="TOOL")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    from diffusers.utils import logging

    logging.set_verbosity_error()
    cells: dict[tuple[str, str], Cell] = {}
    for name in options.only:
        for tool in options.tools:
            cells[name, tool] = cell = apart(name, tool)
            print(f"{name}, {tool}: {cell.verdict} {cell.detail}".strip(), file=sys.stderr)
    text = table(cells, options.only, options.tools)
    if options.write:
        put_into(options.write, text)
    print(text)


if __name__ == "__main__":
    main()
