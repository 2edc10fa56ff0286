"""What every caching method answers: does this step run the model, or is its output predicted?

A policy is arithmetic on a handful of Python floats. It never sees a tensor or a module, so the same object
decides during a generation, in a replay of a recorded one, and in a test against the equations. The session
measures the floats and does what the decision says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from navicache_cli.errors import UsageError


class Region(Enum):
    """The part of a model a method attaches to."""

    OWN = "the model's own region"  # the whole forward, or the stack where outputs have other channels
    STACK = "the stack of blocks"
    TAIL = "the blocks after the first"
    ATTENTION = "every attention"


class Signal(Enum):
    """The one number a policy decides by, besides the step's index. None where it cannot be known yet."""

    INPUT = "‖x_i − x_{i−1}‖"
    MODULATION = "‖m_i − m_{i−1}‖ / ‖m_{i−1}‖, m the modulated embedding that enters the first block"
    FIRST_BLOCK = "‖r_i − r_c‖ / ‖r_c‖, r what the first block adds"
    TIMESTEP = "the timestep's value"
    NONE = "nothing"


class Measure(Enum):
    """What is measured on a computed step."""

    CHANGES = "the spans and the norm of `Measured`"
    MISSES = "those, and what a prediction would have missed, of the guided output where guidance is known"
    RESIDUAL = "its residual against the one before"
    NOTHING = "nothing"

    @property
    def changes(self) -> bool:
        """Whether the spans and the norm are measured."""
        return self in (Measure.CHANGES, Measure.MISSES)


@dataclass(frozen=True)
class Measured:
    """What was measured at one step, on its first branch. ‖·‖ is the mean absolute value.

    Attributes:
        input_change: ‖x_i − x_{i−1}‖; None at the first step, and for methods with another signal.
        input_span: ‖x_i − x_c‖, c the computed step before this one; None if there is none, or if
            this step was skipped.
        output_span: ‖y_i − y_c‖; None in the same cases.
        output_norm: ‖y_i‖; None if this step was skipped.
        input_norm: ‖x_i‖; None if this step was skipped.
        signal: the relative change a method with `Signal.MODULATION` or `FIRST_BLOCK` decided by.
        residual_ratio: magnitude of y_i − x_i by that of the step before, both computed; the mean over all
            tokens of the quotient of their Euclidean norms. For `Measure.RESIDUAL` only.
    """

    input_change: float | None = None
    input_span: float | None = None
    output_span: float | None = None
    output_norm: float | None = None
    input_norm: float | None = None
    signal: float | None = None
    residual_ratio: float | None = None


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
            A computed step resets E to 0.
        threshold: τ that E was compared with; None where nothing was compared.
        stopped: computed because the predicted error of the final latents would have exceeded its bound.
        reuse: at a computed step, the kinds of attention whose kept outputs are used instead of running them.
        keep: the kinds of attention whose outputs of this step a later one may use.
    """

    compute: bool
    forced: bool = False
    ratio: float | None = None
    variance: float | None = None
    innovation: float | None = None
    predicted_change: float | None = None
    accumulated_error: float | None = None
    threshold: float | None = None
    stopped: bool = False
    reuse: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictorSpec:
    """A predictor by its name, and its settings; see `predictors.factory.make_predictor`."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


RESIDUAL = PredictorSpec("residual")
STORED_RESIDUAL = PredictorSpec("stored-residual")


class Policy(Protocol):
    """One caching method. Steps are numbered 0 … total_steps − 1 and decided in that order.

    Attributes:
        name: by which users choose it.
        caches: False if no step is ever skipped: the session then keeps no input or output, and measures
            nothing.
        region: the part of a model it attaches to.
        signal: the number it decides by.
        measures: what is measured on computed steps.
        predictor: rebuilds the outputs of skipped steps, where the user chooses none.
        timestep: t_i of the step to be decided next, set before `decide`; None where nobody knows it.
    """

    name: str
    caches: bool
    region: Region
    signal: Signal
    measures: Measure
    predictor: PredictorSpec
    timestep: float | None

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts."""

    def forget(self, total_steps: int) -> None:
        """Forget what was measured in the generation of `total_steps` steps that goes on, not what was spent.

        The input has another shape from here on, or a step that the policy would skip has to be computed.
        """

    def decide(self, index: int, signal: float | None, /) -> Decision:
        """Decide step `index` by the `signal` this policy asks for."""

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        """Learn what the computed step `index` measured (see `Measured`), before the next `decide`.

        Returns:
            The innovation z − k, or None if there was no ratio to compare the measurement with.
        """

    def missed(self, miss: float, change: float, norm: float) -> None:
        """Learn what the prediction of the step observed last would have missed; for `Measure.MISSES`.

        Args:
            miss: ‖y_i − ŷ_i‖, ŷ_i without error feedback.
            change: ‖y_i − y_c‖.
            norm: ‖y_i‖. All three are of the guided output where guidance is known, or of the first branch.
        """


class Unmeasured:
    """What methods share that learn nothing from computed steps and, unless they say so, forget nothing."""

    caches = True
    measures = Measure.NOTHING
    predictor = STORED_RESIDUAL
    timestep: float | None = None

    def begin(self, total_steps: int) -> None:
        pass

    def forget(self, total_steps: int) -> None:
        self.begin(total_steps)

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        return None

    def missed(self, miss: float, change: float, norm: float) -> None:
        pass


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
