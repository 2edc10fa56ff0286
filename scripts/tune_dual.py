"""Search the dual filter's parameters on measured pairs: `python scripts/tune_dual.py feature_change.csv`.

Draws many sets of parameters at random, judges each by the mean relative error of the one-step-ahead
prediction (`navicache_cli.accuracy`), and takes the middle of the best ones. Held out: for each prompt the
search sees the other prompts alone, and what it gives is judged on that prompt. The same seed gives the
same result. Recordings (`generate --mode off --trajectory`) given after the CSV are only judged on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from navicache_cli.accuracy import FIRST_SCORED_STEP, Pairs, foretell, pairs_of, read_pairs
from navicache_cli.cache.estimator import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
from navicache_cli.replays import read_recordings

# Range of each parameter; those that span magnitudes are drawn evenly in their logarithm.
RANGES = {
    "level_noise": (1e-5, 0.3),
    "drift_noise": (1e-5, 0.3),
    "damping": (0.3, 1.0),
    "early_noise": (1e-3, 1.0),
    "late_noise": (1e-2, 5.0),
    "rise": (0.3, 6.0),
}
LINEAR = {"damping"}
Candidates = dict[str, np.ndarray]


def main() -> None:
    """Search, judge, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="CSV of measured pairs, as `navicache plot` reads it")
    parser.add_argument("recordings", type=Path, nargs="*", help="reports with a trajectory, to judge on")
    parser.add_argument("--count", type=int, default=20_000, help="sets of parameters drawn")
    parser.add_argument("--best", type=int, default=20, help="sets whose middle is taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--range", action="append", default=[], metavar="NAME=LOW:HIGH", help="another range")
    arguments = parser.parse_args()
    ranges = RANGES | dict(read_range(text) for text in arguments.range)
    started = time.perf_counter()
    pairs = read_pairs(arguments.pairs)
    candidates = draw(arguments.count, np.random.default_rng(arguments.seed), ranges)
    errors = np.stack([simulate(candidates, run) for run in pairs], axis=1)
    held_out = {}
    for index, run in enumerate(pairs):
        chosen = middle(candidates, np.delete(errors, index, axis=1), arguments.best)
        held_out[run.prompt] = error_of(DualKalman(**chosen), run)
    parameters = middle(candidates, errors, arguments.best)
    estimators: dict[str, Estimator] = {
        "zero-order hold": ZeroOrderHold(),
        "scalar": ScalarKalman(),
        "dual, as shipped": DualKalman(),
        "dual, this search": DualKalman(**parameters),
    }
    recorded = [pairs_of(one.trajectory, one.path.stem) for one in read_each(arguments.recordings)]
    result = {
        "parameters": parameters,
        "held_out": float(np.mean(list(held_out.values()))),
        "held_out_by_prompt": held_out,
        "relative_error": {name: mean_error(one, pairs) for name, one in estimators.items()},
        "on_recordings": {name: mean_error(one, recorded) for name, one in estimators.items() if recorded},
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result, indent=1))


def read_each(paths: list[Path]) -> list:
    """Read recordings that may be of different models."""
    return [recording for path in paths for recording in read_recordings([path])]


def read_range(text: str) -> tuple[str, tuple[float, float]]:
    """`damping=-1:1` as a name and its ends."""
    name, _, ends = text.partition("=")
    low, _, high = ends.partition(":")
    if name not in RANGES:
        raise SystemExit(f"expected one of {', '.join(RANGES)}; found {name!r}")
    return name, (float(low), float(high))


def draw(count: int, random: np.random.Generator, ranges: dict[str, tuple[float, float]]) -> Candidates:
    """`count` sets of parameters: an array [count] for each."""
    drawn = {}
    for name, (low, high) in ranges.items():
        position = random.uniform(size=count)
        if name in LINEAR:
            drawn[name] = low + (high - low) * position
        else:
            drawn[name] = low * (high / low) ** position
    return drawn


def simulate(candidates: Candidates, run: Pairs) -> np.ndarray:
    """[count] mean relative error of each set on one prompt: `DualKalman`'s equations, all sets at once."""
    q, d, phi, early, late, rise = (candidates[name] for name in RANGES)
    total = int(run.steps[-1]) + 1
    logs = np.log(run.outputs / run.inputs)
    level = drift = p00 = p01 = p11 = np.zeros(len(q))
    errors = []
    for position, step in enumerate(run.steps.tolist()):
        noise = early + (late - early) * (step / total) ** rise
        if position == 0:
            level, drift = np.full(len(q), logs[0]), np.zeros(len(q))
            p00, p01, p11 = noise, np.zeros(len(q)), np.ones(len(q))
            continue
        for _ in range(step - int(run.steps[position - 1])):
            level, drift = level + phi * drift, phi * drift
            p00 = p00 + 2 * phi * p01 + phi * phi * p11 + q
            p01 = phi * p01 + phi * phi * p11
            p11 = phi * phi * p11 + d
        innovation = logs[position] - level
        if step >= FIRST_SCORED_STEP:
            errors.append(np.abs(np.expm1(-innovation)))
        gain, drift_gain = p00 / (p00 + noise), p01 / (p00 + noise)
        level, drift = level + gain * innovation, drift + drift_gain * innovation
        p00, p01, p11 = (1 - gain) * p00, (1 - gain) * p01, p11 - drift_gain * p01
    return np.mean(errors, axis=0)


def middle(candidates: Candidates, errors: np.ndarray, best: int) -> dict[str, float]:
    """The middle of the `best` sets by mean error over prompts (errors [count, prompts]), two digits each.

    The very best set owes its place to chance as well; the middle of the best is steadier.
    """
    leaders = np.argsort(errors.mean(axis=1), kind="stable")[:best]
    found = {}
    for name, values in candidates.items():
        mean = values[leaders].mean() if name in LINEAR else np.exp(np.log(values[leaders]).mean())
        found[name] = float(f"{mean:.2g}")
    return found


def error_of(estimator: Estimator, run: Pairs) -> float:
    """Mean relative error of the one-step-ahead prediction on one generation, by the shipped code."""
    scored = run.steps >= FIRST_SCORED_STEP
    forecasts = foretell(estimator, run)
    return float(np.mean(np.abs(forecasts - run.outputs)[scored] / run.outputs[scored]))


def mean_error(estimator: Estimator, runs: list[Pairs]) -> float:
    """The mean of `error_of` over generations."""
    return float(np.mean([error_of(estimator, run) for run in runs]))


if __name__ == "__main__":
    main()
