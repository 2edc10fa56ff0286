"""Search the dual filter's parameters: `python scripts/tune_dual.py pairs.csv scripts/tiny_changes.csv`.

Draws many sets of parameters at random, judges each by the mean relative error of the one-step-ahead
prediction (`navicache_cli.plots.accuracy`) over that of holding the last ratio, averaged over the sources,
and takes the middle of the best sets. Held out: for each prompt the search sees the other prompts alone, and
what it gives is judged on that prompt. The same seed gives the same result.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from navicache_cli.cache.policies.estimators import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
from navicache_cli.plots.accuracy import FIRST_SCORED_STEP, Pairs, pairs_of, predict_changes, read_pairs
from navicache_cli.replay.replays import read_recordings

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
    parser.add_argument(
        "sources", type=Path, nargs="+", help="CSV files of measured pairs, or reports with a trajectory"
    )
    parser.add_argument("--count", type=int, default=20_000, help="sets of parameters drawn")
    parser.add_argument("--best", type=int, default=20, help="sets whose middle is taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--range", action="append", default=[], metavar="NAME=LOW:HIGH", help="another range")
    arguments = parser.parse_args()
    ranges = RANGES | dict(read_range(text) for text in arguments.range)
    started = time.perf_counter()
    sources = read_sources(arguments.sources)
    candidates = draw(arguments.count, np.random.default_rng(arguments.seed), ranges)
    errors = {
        name: np.stack([simulate(candidates, run) for run in runs], axis=1) for name, runs in sources.items()
    }
    holds = {name: mean_error(ZeroOrderHold(), runs) for name, runs in sources.items()}
    held_out: dict[str, dict[str, float]] = {}
    for name, runs in sources.items():
        for index, run in enumerate(runs):
            seen = errors | {name: np.delete(errors[name], index, axis=1)}
            chosen = middle(candidates, score(seen, holds), arguments.best)
            held_out.setdefault(name, {})[run.prompt] = error_of(DualKalman(**chosen), run)
    parameters = middle(candidates, score(errors, holds), arguments.best)
    estimators: dict[str, Estimator] = {
        "zero-order hold": ZeroOrderHold(),
        "scalar": ScalarKalman(),
        "dual, as shipped": DualKalman(),
        "dual, this search": DualKalman(**parameters),
    }
    result = {
        "parameters": parameters,
        "held_out": {name: float(np.mean(list(found.values()))) for name, found in held_out.items()},
        "held_out_by_prompt": held_out,
        "relative_error": {
            name: {kind: mean_error(one, runs) for kind, one in estimators.items()}
            for name, runs in sources.items()
        },
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result, indent=1))


def read_sources(paths: list[Path]) -> dict[str, list[Pairs]]:
    """Pairs by source: each CSV is one, and all reports together are one."""
    sources = {path.stem: read_pairs(path) for path in paths if path.suffix == ".csv"}
    reports = [path for path in paths if path.suffix != ".csv"]
    if reports:
        sources["recordings"] = [pairs_of(one.trajectory, one.path.stem) for one in read_recordings(reports)]
    return sources


def score(errors: dict[str, np.ndarray], holds: dict[str, float]) -> np.ndarray:
    """[count] mean over sources of the error relative to the zero-order hold's: each weighs the same."""
    return np.mean([errors[name].mean(axis=1) / holds[name] for name in errors if errors[name].size], axis=0)


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


def middle(candidates: Candidates, scores: np.ndarray, best: int) -> dict[str, float]:
    """The middle of the `best` sets by their scores [count], two digits each.

    The very best set owes its place to chance as well; the middle of the best is steadier.
    """
    leaders = np.argsort(scores, kind="stable")[:best]
    found = {}
    for name, values in candidates.items():
        mean = values[leaders].mean() if name in LINEAR else np.exp(np.log(values[leaders]).mean())
        found[name] = float(f"{mean:.2g}")
    return found


def error_of(estimator: Estimator, run: Pairs) -> float:
    """Mean relative error of the one-step-ahead prediction on one generation, by the shipped code."""
    scored = run.steps >= FIRST_SCORED_STEP
    forecasts = predict_changes(estimator, run)
    return float(np.mean(np.abs(forecasts - run.outputs)[scored] / run.outputs[scored]))


def mean_error(estimator: Estimator, runs: list[Pairs]) -> float:
    """The mean of `error_of` over generations."""
    return float(np.mean([error_of(estimator, run) for run in runs]))


if __name__ == "__main__":
    main()
