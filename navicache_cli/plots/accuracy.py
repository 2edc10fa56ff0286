"""How well estimators foresee the output's change, one step ahead, on measured pairs of changes.

A pair is the relative change of the input and of the output at one step of one prompt's generation, all
steps of which were computed. At step i an estimator knows the pairs before i and the input's change at i,
and predicts the output's change: ratio times input change. A polynomial (TeaCache's kind of model, arXiv
2411.19108) maps the input's change to the output's without memory, and is fitted on the other prompts'
pairs.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from navicache_cli.cache.policies.estimators import DualKalman, Estimator, ScalarKalman, ZeroOrderHold
from navicache_cli.cache.recording.trajectory import Trajectory
from navicache_cli.errors import OutputError, UsageError
from navicache_cli.reading import read_utf8

COLUMNS = ("prompt", "step", "input_rel_l1", "output_rel_l1")
FIRST_SCORED_STEP = 6  # the steps before are those every cache computes anyway
ALIGN_STEPS = 5  # as in the presets of models with 30 steps
POLYNOMIAL_DEGREE = 4  # TeaCache's
_MOST_STEPS = 10_000  # a filter steps through every gap: a mistyped number should not stall it
_SMALLEST, _LARGEST = 1e-12, 1e12  # no relative change comes near, and powers of them are still numbers
_HINT = "fix or remove the line"


@dataclass(frozen=True)
class Pairs:
    """One generation's pairs, in order: steps [n] int; input and output changes [n], relative, above 0."""

    prompt: str
    steps: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class Accuracy:
    """One predictor's errors over all pairs from `FIRST_SCORED_STEP` on.

    Attributes:
        mae: mean absolute error, in units of the relative output change.
        relative: mean of |predicted − measured| / measured.
        by_step: the same mean at each step.
    """

    mae: float
    relative: float
    by_step: dict[int, float]


def read_pairs(path: Path) -> list[Pairs]:
    """Read a CSV with the columns in `COLUMNS`; any others are ignored.

    Raises:
        OutputError: the file cannot be read, lacks a column, or a value is not a positive number.
    """
    rows: dict[str, list[tuple[int, float, float]]] = {}
    try:
        reader = csv.DictReader(io.StringIO(read_utf8(path), newline=""))
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise OutputError(
                f"expected the columns {', '.join(COLUMNS)} in {path}; found no {', '.join(missing)}",
                f"name them in its first line: {','.join(COLUMNS)}",
            )
        for row in reader:
            rows.setdefault(row["prompt"] or "", []).append(_row(row, f"{path}, line {reader.line_num}"))
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}", "check the path") from None
    except csv.Error as error:
        raise OutputError(f"expected a CSV file; {path} is none: {error}", "check the path") from None
    pairs = [_pairs(prompt, found, path) for prompt, found in rows.items()]
    # A prompt's first pair has no prediction.
    if not any((run.steps[1:] >= FIRST_SCORED_STEP).any() for run in pairs):
        raise OutputError(
            f"expected measured pairs from step {FIRST_SCORED_STEP} on in {path}, not the first of a prompt; "
            "found none",
            "measure whole generations; the steps before are those every cache computes",
        )
    return pairs


def _row(row: dict[str, str], place: str) -> tuple[int, float, float]:
    try:
        step, before, after = int(row["step"]), float(row["input_rel_l1"]), float(row["output_rel_l1"])
    except (TypeError, ValueError):
        raise OutputError(f"expected a step and two numbers at {place}; found others", _HINT) from None
    if not (0 <= step < _MOST_STEPS and all(_SMALLEST < change < _LARGEST for change in (before, after))):
        raise OutputError(
            f"expected a step below {_MOST_STEPS} and two positive changes, {_SMALLEST:g} to {_LARGEST:g}, "
            f"at {place}; found {str(step)[:20]}, {before:g}, {after:g}",
            _HINT,
        )
    return step, before, after


def _pairs(prompt: str, rows: list[tuple[int, float, float]], path: Path) -> Pairs:
    steps, inputs, outputs = (np.array(column) for column in zip(*rows, strict=True))
    if (np.diff(steps) <= 0).any():
        raise OutputError(
            f"expected each prompt's steps in rising order in {path}; found others for {prompt[:60]!r}",
            "sort its lines, and give each generation a prompt of its own",
        )
    return Pairs(prompt, steps, inputs, outputs)


def pairs_of(trajectory: Trajectory, name: str) -> Pairs:
    """The pairs of a recorded generation: each step against the one before; absolute changes serve as well.

    A step whose input or output did not move, or whose change is not finite, is left out.
    """
    steps = np.arange(1, trajectory.total_steps)
    inputs = np.array([trajectory.input_spans[step][-1] for step in steps.tolist()])
    outputs = np.array([trajectory.output_spans[step][-1] for step in steps.tolist()])
    moved = np.isfinite(inputs * outputs) & (inputs > 0) & (outputs > 0)
    return Pairs(name, steps[moved], inputs[moved], outputs[moved])


def measure_accuracy(pairs: list[Pairs]) -> dict[str, Accuracy]:
    """Errors of each predictor, by its name: held ratio, polynomial, scalar and dual filter.

    Raises:
        UsageError: there is one prompt alone, and so nothing to fit its polynomial on.
    """
    if len(pairs) < 2:
        raise UsageError(
            f"expected measured pairs of at least two prompts; found {len(pairs)}",
            "the polynomial is fitted on the other prompts",
        )
    predicted = {
        "zero-order hold": [predict_changes(ZeroOrderHold(), run) for run in pairs],
        "polynomial": [_polynomial(run, [other for other in pairs if other is not run]) for run in pairs],
        "scalar filter": [predict_changes(ScalarKalman(), run) for run in pairs],
        "dual filter": [predict_changes(DualKalman(), run) for run in pairs],
    }
    return {name: _accuracy(pairs, forecasts) for name, forecasts in predicted.items()}


def predict_changes(estimator: Estimator, run: Pairs) -> np.ndarray:
    """[n] output changes, each predicted before it was measured; NaN before the first measurement."""
    estimator.reset(total_steps=int(run.steps[-1]) + 1, align_steps=ALIGN_STEPS)
    forecasts = []
    for step, before, after in zip(
        run.steps.tolist(), run.inputs.tolist(), run.outputs.tolist(), strict=True
    ):
        ratio = estimator.ratio_at(step)
        forecasts.append(math.nan if ratio is None else ratio * before)
        estimator.measure(after / before, step)
    return np.array(forecasts)


def _polynomial(run: Pairs, others: list[Pairs]) -> np.ndarray:
    """[n] output changes by the least-squares polynomial through the other prompts' pairs, all steps."""
    inputs = np.concatenate([other.inputs for other in others])
    outputs = np.concatenate([other.outputs for other in others])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct inputs than coefficients: the smallest fit is taken
        fitted = np.polynomial.Polynomial.fit(inputs, outputs, POLYNOMIAL_DEGREE)
    return fitted(run.inputs)


def _accuracy(pairs: list[Pairs], forecasts: list[np.ndarray]) -> Accuracy:
    steps = np.concatenate([run.steps for run in pairs])
    outputs = np.concatenate([run.outputs for run in pairs])
    errors = np.abs(np.concatenate(forecasts) - outputs)
    scored = (steps >= FIRST_SCORED_STEP) & np.isfinite(errors)
    steps, errors, relative = steps[scored], errors[scored], (errors / outputs)[scored]
    by_step = {int(step): float(relative[steps == step].mean()) for step in np.unique(steps)}
    return Accuracy(float(errors.mean()), float(relative.mean()), by_step)
