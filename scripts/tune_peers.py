"""Find settings of every method that take equal work on `tiny`: `python scripts/tune_peers.py`.

For each method and each speedup (of compute, as `navicache compare` counts it) the threshold is found whose
mean over the tuning prompts comes nearest; a method without a threshold gets, of its settings that come about
as near, the one with the best PSNR. Prints a table, and with --write a file for `navicache compare
--settings`. With `--condition 5-4`, the preset's, it also prints what to put into presets/tiny.yaml for the
modes. Some minutes on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.progress import track

from backends.registry import get_backend
from backends.tiny.conditions import CONDITIONS, MAIN, PRESET, Condition
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.compare.peers.peers import PEERS, installed
from navicache_cli.compare.peers.runner import PeerRunner
from navicache_cli.compare.runners import Outcome, PipelineRunner, Runner
from navicache_cli.compare.settings import BASELINE, OWN_RUNNER, Setting, peer_setting
from navicache_cli.files import write_atomically
from navicache_cli.media.fidelity import psnr
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.terminal import stderr

SEED = 11  # of the tuning prompts; no figure is measured on them
GRID = 5  # thresholds tried before the one in between is taken
MODES = {2.0: "fast", 1.8: "mid", 1.5: "slow"}
BUDGETS = (1.5, 2.0, 2.5, 3.0)  # of the table
NEAR = 0.015  # of all work: settings that close to the wanted one count as equal to it


@dataclass(frozen=True)
class Search:
    """What is tried of one method: thresholds from `low` to `high`, or `choices`, or `intervals`.

    Attributes:
        method: as `compare` knows it.
        fixed: options that all have.
        first: of a method that computes at intervals, the option that counts the computed steps before.
        same: whether all prompts take the same work, so that one tells it.
        line: name in the table, if not the method's.
    """

    method: str
    low: float = 0.0
    high: float = 0.0
    fixed: dict[str, Any] = field(default_factory=dict)
    choices: tuple[dict[str, Any], ...] = ()
    first: str = ""
    same: bool = False
    line: str = ""

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.line or self.method


@dataclass(frozen=True)
class Found:
    """A setting for one speedup, and what it did on the tuning prompts."""

    search: Search
    speedup: float
    options: dict[str, Any]
    compute: float
    psnr: float
    worst: float


def intervals(first: str, steps: int, speedups: Iterable[float]) -> tuple[dict[str, Any], ...]:
    """Every 2nd, 3rd, 4th or 5th step after so many `first` ones, near each of the speedups."""
    chosen = []
    for interval in (2, 3, 4, 5):
        for speedup in speedups:
            # first + (steps - first) / interval = steps / speedup
            count = round((steps / speedup - steps / interval) / (1 - 1 / interval))
            if count >= 0:
                chosen.append({"interval": interval, first: max(count, 1)})
    return tuple({str(one): one for one in chosen}.values())


RANGES = (2, 3, 4, 6, 8)
WINDOWS = ((100, 800), (0, 1000))
SEARCHES = (
    Search("navicache", 0.02, 0.4),
    Search("navicache", 0.02, 0.4, {"estimator": "dual"}, line="navicache dual"),
    Search("easycache", 0.02, 0.4),
    Search("teacache", 0.03, 0.5, same=True),
    Search("magcache", 0.003, 0.5, {"max_skips": 6}, same=True),
    Search("fbcache", 0.03, 0.5),
    Search("taylorseer", first="align_steps", same=True),
    Search(
        "pab",
        choices=tuple(
            {"broadcast": f"self={n} cross={2 * n}", "window": f"{low} {high}"}
            for n in RANGES
            for low, high in WINDOWS
        ),
        same=True,
    ),
    Search("diffusers:fbcache", 0.03, 0.5),
    Search("diffusers:magcache", 0.003, 0.5, {"max_skips": 6}, same=True),
    Search("diffusers:seacache", 0.03, 0.5),
    Search("diffusers:taylorseer", first="warmup", same=True),
    Search("diffusers:taylorseer-lite", first="warmup", same=True),
    Search(
        "diffusers:pab",
        choices=tuple(
            {"self": n, "cross": 2 * n, "window_low": low, "window_high": high}
            for n in RANGES
            for low, high in WINDOWS
        ),
        same=True,
    ),
    Search("cache-dit:dbcache", 0.03, 0.5),
    Search("cache-dit:dbcache-taylor", 0.03, 0.5),
    Search("cache-dit:dbcache-dmd", 0.03, 0.5),
    Search("cache-dit:dbcache-foca", 0.03, 0.5),
)


class Bench:
    """Generates, and remembers what came of each setting on each prompt.

    Args:
        prompts: each with its position for a seed.
        condition: what all are generated under.
    """

    def __init__(self, prompts: list[str], condition: Condition) -> None:
        self.prompts = prompts
        self.condition = condition
        self._pipeline = get_backend("tiny").load(resolve([]))
        self._runners: dict[str, Runner] = {OWN_RUNNER: PipelineRunner(self._pipeline)}
        self._known: dict[str, tuple[float, float]] = {}
        self._references = [self._run(BASELINE, index).frames for index in range(len(prompts))]

    def try_out(self, search: Search, options: dict[str, Any], prompts: int) -> list[tuple[float, float]]:
        """Compute ratio and PSNR on each of the first `prompts` prompts."""
        options = {**search.fixed, **options}
        if search.method in PEERS:
            setting = peer_setting(search.name, search.method, options)
        else:
            setting = Setting(search.name, search.method, {"method": search.method, **options})
        results = []
        for index in range(prompts):
            key = f"{search.name} {sorted(options.items())} {index}"
            if key not in self._known:
                outcome = self._run(setting, index)
                similarity = psnr(outcome.frames, self._references[index])
                self._known[key] = (outcome.totals.compute_ratio, similarity)
            results.append(self._known[key])
        return results

    def compute(self, search: Search, options: dict[str, Any]) -> float:
        """Mean compute ratio of a setting."""
        count = 1 if search.same else len(self.prompts)
        return fmean(ratio for ratio, _ in self.try_out(search, options, count))

    def judge(self, search: Search, speedup: float, options: dict[str, Any]) -> Found:
        """Run a setting on all prompts."""
        results = self.try_out(search, options, len(self.prompts))
        similar = [value for _, value in results]
        compute = fmean(ratio for ratio, _ in results)
        return Found(search, speedup, options, compute, fmean(similar), min(similar))

    def _run(self, setting: Setting, index: int) -> Outcome:
        if setting.runner not in self._runners:
            self._runners[setting.runner] = PeerRunner(self._pipeline, setting.runner)
        prompt = {"prompt": self.prompts[index], "seed": SEED + index}
        values = {**self.condition.options, **setting.values, **prompt}
        return self._runners[setting.runner].run(resolve([Layer("tune", values)]), setting)


def tune(bench: Bench, search: Search, speedups: Iterable[float]) -> list[Found]:
    """Find a setting for each speedup."""
    choices = search.choices
    if search.first:
        choices = intervals(search.first, bench.condition.steps, speedups)
    if choices:
        tried = [(bench.compute(search, one), one) for one in choices]
        return [best_choice(bench, search, tried, speedup) for speedup in speedups]
    gap = math.log(search.high / search.low) / (GRID - 1)
    grid = [search.low * math.exp(gap * i) for i in range(GRID)]
    curve = [(value, bench.compute(search, {"threshold": value})) for value in grid]
    return [best_threshold(bench, search, curve, speedup) for speedup in speedups]


def best_threshold(bench: Bench, search: Search, curve: list[tuple[float, float]], speedup: float) -> Found:
    """Close in on the threshold, a few times at most, as work falls in steps rather than smoothly."""
    curve = list(curve)
    for _ in range(5 if search.same else 2):
        value = between(curve, 1 / speedup)
        ratio = bench.compute(search, {"threshold": value})
        curve = sorted({**dict(curve), value: ratio}.items())
        if abs(ratio - 1 / speedup) < NEAR:
            break
    nearest = min(curve, key=lambda one: abs(one[1] - 1 / speedup))[0]
    return bench.judge(search, speedup, {"threshold": nearest})


def between(curve: list[tuple[float, float]], ratio: float) -> float:
    """The threshold at a compute ratio, by straight lines over its logarithm; three digits of it.

    Args:
        curve: thresholds, rising, each with its ratio.
        ratio: wanted; outside the curve its nearer end is taken.
    """
    for (low, above), (high, below) in pairwise(curve):
        if above >= ratio >= below:
            share = (above - ratio) / (above - below) if above > below else 0.0
            return float(f"{low * (high / low) ** share:.3g}")
    return curve[0][0] if curve[0][1] < ratio else curve[-1][0]


def best_choice(
    bench: Bench, search: Search, tried: list[tuple[float, dict[str, Any]]], speedup: float
) -> Found:
    """Of the choices about as near as the nearest, the one with the best PSNR."""
    least = min(abs(ratio - 1 / speedup) for ratio, _ in tried)
    near = [one for ratio, one in tried if abs(ratio - 1 / speedup) <= max(least, NEAR)]
    return max((bench.judge(search, speedup, one) for one in near), key=lambda found: found.psnr)


def settings_text(found: list[Found], condition: Condition) -> str:
    """The file for `navicache compare --settings`, with what needs no tuning at the same budgets."""
    lines = [f"# By `python scripts/tune_peers.py --condition {condition.name} --write FILE`: equal work."]
    for one in found:
        if one.speedup in BUDGETS:
            options = {"method": one.search.method, **one.search.fixed, **one.options}
            if one.search.line:
                options["line"] = one.search.line
            inside = ", ".join(f"{key}: {quoted(value)}" for key, value in options.items())
            lines.append(f"{quoted(f'{one.search.name} {one.speedup:g}x')}: {{{inside}}}")
    for speedup in BUDGETS:
        count = round(condition.steps / speedup)
        lines.append(f"fewer-steps {speedup:g}x: {{method: fewer-steps, steps: {count}}}")
        lines.append(f"hold {speedup:g}x: {{method: navicache+hold, speedup: {speedup:g}}}")
    if installed("diffusers:off"):
        lines.append('"diffusers:off": {method: "diffusers:off"}')
    return "\n".join(lines) + "\n"


def preset_lines(found: list[Found]) -> list[str]:
    """For each method what presets/tiny.yaml may say of its modes."""
    lines = []
    for search in dict.fromkeys(one.search.name for one in found):
        modes = [
            f"{MODES[one.speedup]}: {{{', '.join(f'{k}: {quoted(v)}' for k, v in one.options.items())}}}"
            for one in found
            if one.search.name == search and one.speedup in MODES
        ]
        lines.append(f"  {search}: {{modes: {{{', '.join(modes)}}}}}")
    return lines


def quoted(value: Any) -> str:
    """YAML of a number or a name."""
    return f'"{value}"' if isinstance(value, str) and not value.replace("-", "").isalpha() else f"{value}"


_bench: list[Bench] = []  # of this process


def start_process(prompts: list[str], condition: Condition) -> None:
    """Give a process its bench."""
    _bench.append(Bench(prompts, condition))


def tune_here(search: Search) -> list[Found]:
    """Tune one method on this process's bench."""
    condition = _bench[0].condition
    return tune(_bench[0], search, sorted({*BUDGETS, *(MODES if condition == PRESET else ())}))


def main() -> None:
    """Search, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--condition", choices=CONDITIONS, default=MAIN.name, metavar="SHIFT-GUIDANCE")
    parser.add_argument("--count", type=int, default=4, help="tuning prompts")
    parser.add_argument("--methods", default="", help="comma-separated; default all that are installed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--write", type=Path, help="where the settings of the table go")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.methods.split(",") if name]
    searches = [
        search
        for search in SEARCHES
        if (search.name in wanted or not wanted) and (search.method not in PEERS or installed(search.method))
    ]
    prompts = [describe(scene) for scene in held_out_scenes(arguments.count, SEED)]
    condition = CONDITIONS[arguments.condition]
    found: list[Found] = []
    print(f"{'method':26}{'wanted':>8}{'got':>8}{'PSNR':>8}{'worst':>8}  options")
    with multiprocessing.get_context("spawn").Pool(
        arguments.jobs, start_process, (prompts, condition)
    ) as pool:
        for results in track(pool.imap(tune_here, searches), "methods", total=len(searches), console=stderr):
            found += results
            for one in results:
                speeds = f"{one.speedup:>7.2f}x{1 / one.compute:>7.2f}x"
                similar = f"{one.psnr:>8.2f}{one.worst:>8.2f}"
                print(f"{one.search.name:26}{speeds}{similar}  {one.options}", flush=True)
    if condition == PRESET:
        print("\nFor presets/tiny.yaml:")
        print("\n".join(preset_lines(found)))
    if arguments.write:
        write_atomically(arguments.write, settings_text(found, condition))


if __name__ == "__main__":
    main()
