"""A recorded generation as numbers, and what any policy would have decided on it.

A policy decides by changes from the step before and learns from spans back to the step it computed last.
Which step that is depends on the policy, so a recording holds the span of every pair of steps: two triangles
of N (N − 1) / 2 numbers each. Given them, each decision is the one a session would have taken on these
inputs and outputs, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from navicache_cli.cache.policies.policy import Decision, Policy, Signal
from navicache_cli.errors import OutputError, UsageError

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Trajectory:
    """A generation of N steps, all of them computed, measured on its first branch.

    ‖·‖ is the mean absolute value. A number that was not finite is NaN.

    Attributes:
        input_spans: N rows; row i holds ‖x_i − x_j‖ for j = 0 … i − 1.
        output_spans: the same of y.
        output_norms: [N] ‖y_i‖.
    """

    input_spans: Rows
    output_spans: Rows
    output_norms: tuple[float, ...]

    @property
    def total_steps(self) -> int:
        """N."""
        return len(self.output_norms)

    def to_json(self) -> dict[str, Any]:
        """The three fields as JSON values; NaN becomes null."""
        return {
            "input_spans": [_nulls(row) for row in self.input_spans],
            "output_spans": [_nulls(row) for row in self.output_spans],
            "output_norms": _nulls(self.output_norms),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Trajectory:
        """Read what `to_json` made; the document's types must have been checked.

        Raises:
            OutputError: the rows do not form triangles, or a number is larger than a float.
        """
        norms = _numbers(document["output_norms"])
        triangles: dict[str, Rows] = {}
        for key in ("input_spans", "output_spans"):
            rows = tuple(_numbers(row) for row in document[key])
            if [len(row) for row in rows] != list(range(len(norms))):
                raise OutputError(
                    f"expected {len(norms)} rows of 0, 1, 2, … numbers under trajectory/{key}; found others",
                    "record it again, with every step computed",
                )
            triangles[key] = rows
        return cls(**triangles, output_norms=norms)


@dataclass(frozen=True)
class ReplayedStep:
    """One step of a replay.

    Attributes:
        decision: what the policy decided, and why.
        innovation: z − k as measured at this very step; None if it was skipped or measured nothing.
    """

    decision: Decision
    innovation: float | None = None


def replay(policy: Policy, trajectory: Trajectory, timesteps: Sequence[float] = ()) -> list[ReplayedStep]:
    """Let `policy` decide every step of a recorded generation.

    Up to the first step it skips, this is what it does in a generation of its own with the same settings
    and seed. After that such a generation's latents differ from the recorded ones by the error of
    the prediction, and decisions near the threshold may fall otherwise. A budget goes by what the first
    branch's output changes, as in a generation whose predictor learns nothing.

    Args:
        policy: decides.
        trajectory: the recording.
        timesteps: t_i of each step, which a budget reads the sampler's shift from; steps are taken to be even
            without.

    Raises:
        UsageError: the policy decides by numbers a trajectory does not hold.
    """
    _check_held(policy)
    policy.begin(trajectory.total_steps)
    steps: list[ReplayedStep] = []
    last: int | None = None  # c, the step computed last
    for index in range(trajectory.total_steps):
        change = trajectory.input_spans[index][index - 1] if index else None
        policy.timestep = timesteps[index] if timesteps else None
        decision = policy.decide(index, change)
        if not decision.compute and last is None:
            # As in a session: there is nothing to predict from, whatever the policy says.
            decision = replace(decision, compute=True)
        innovation = None
        if decision.compute:
            input_span = None if last is None else trajectory.input_spans[index][last]
            output_span = None if last is None else trajectory.output_spans[index][last]
            innovation = policy.observe(index, input_span, output_span, trajectory.output_norms[index])
            last = index
        steps.append(ReplayedStep(decision, innovation))
    return steps


def _check_held(policy: Policy) -> None:
    """Refuse a policy that decides by something not recorded."""
    if policy.signal not in (Signal.INPUT, Signal.NONE):
        raise UsageError(
            f"{policy.name} decides by more than a trajectory holds: {policy.signal.value}",
            f"let {policy.name} decide in a generation of its own",
        )


def _nulls(numbers: Sequence[float]) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers]


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    try:
        return tuple(math.nan if value is None else float(value) for value in values)
    except OverflowError:
        raise OutputError(
            "expected numbers under trajectory; found an integer too large for one",
            "record it again, with every step computed",
        ) from None
