"""What every caching method answers: does this step run the model, or is its output predicted?

A policy is arithmetic on a handful of Python floats. It never sees a tensor or a module, so the same
object decides during a generation, in a replay of recorded features, and in a test against the
equations. The session measures the floats and does what the decision says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from navicache_cli.errors import UsageError


@dataclass(frozen=True)
class Features:
    """What was measured at one step, on its first branch. ‖·‖ is the mean absolute value.

    Attributes:
        input_change: ‖x_i − x_{i−1}‖; None at the first step.
        input_span: ‖x_i − x_c‖, c the computed step before this one; None if there is none, or if
            this step was skipped.
        output_span: ‖y_i − y_c‖; None in the same cases.
        output_norm: ‖y_i‖; None if this step was skipped.
    """

    input_change: float | None = None
    input_span: float | None = None
    output_span: float | None = None
    output_norm: float | None = None


@dataclass(frozen=True)
class Decision:
    """Whether one step is computed, and why. The reasons are None where a method has no such quantity.

    Attributes:
        compute: run the model; otherwise its output is predicted.
        forced: computed without asking the gate: alignment, last step, or nothing usable to predict with.
        ratio: the feature-change ratio k this decision used.
        variance: that ratio's variance, in the estimator's own units.
        innovation: z − k of the measurement absorbed last.
        predicted_change: k · ‖x_i − x_{i−1}‖ / ‖y_c‖, relative; None at forced steps.
        accumulated_error: the E that was compared with the threshold, relative; 0 at forced steps.
            After a computed step the policy goes on from E = 0.
    """

    compute: bool
    forced: bool = False
    ratio: float | None = None
    variance: float | None = None
    innovation: float | None = None
    predicted_change: float | None = None
    accumulated_error: float | None = None


class Policy(Protocol):
    """One caching method. Steps are numbered 0 … total_steps − 1 and decided in that order.

    Attributes:
        name: as the command line spells it.
        caches: False if no step is ever skipped: the session then keeps and measures nothing.
    """

    name: str
    caches: bool

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts."""

    def decide(self, index: int, input_change: float | None) -> Decision:
        """Decide step `index`, whose input moved by `input_change` (‖x_i − x_{i−1}‖) since the last one."""

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        """Learn what the computed step `index` measured (see `Features`), before the next `decide`.

        Returns:
            The innovation z − k, or None if there was no ratio to compare the measurement with.
        """


def check_threshold(threshold: float) -> float:
    """Return `threshold` as a float.

    Raises:
        UsageError: it is negative or not finite.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise UsageError(
            f"expected a finite threshold of at least 0, found {threshold}",
            hint="a larger threshold skips more steps; 0 skips none, and presets lie between 0.02 and 0.6",
        )
    return float(threshold)


def check_count(value: int, name: str, least: int, *, hint: str) -> int:
    """Return `value`.

    Raises:
        UsageError: it is not a whole number, or below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(
            f"expected {name} to be a whole number of at least {least}, found {value!r}", hint=hint
        )
    return value
