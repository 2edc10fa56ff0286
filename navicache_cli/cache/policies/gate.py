"""The gate NaviCache and EasyCache share: skip while the predicted error stays below a threshold."""

from __future__ import annotations

import math

from navicache_cli.cache.policies.budget import Budget
from navicache_cli.cache.policies.estimators import Estimator
from navicache_cli.cache.policies.policy import (
    RESIDUAL,
    Decision,
    Measure,
    Region,
    Signal,
    check_count,
    check_threshold,
)

# Keeps z finite when the input did not move; the value is that of NaviCache's published code.
_SPAN_FLOOR = 1e-8


class ErrorGate:
    """Accumulate the relative change of the output predicted since it was last computed; skip below τ.

    Compute if i < A, i = N−1, or no ratio has been measured. Otherwise
    E += k · ‖x_i − x_{i−1}‖ / ‖y_c‖, and skip exactly when E < τ; a computed step sets E = 0.
    A change that cannot be predicted (an output norm of zero, a number that is not finite) computes.
    From NaviCache (arXiv 2606.26795); EasyCache (arXiv 2507.02860) is the same with the ratio held.

    Args:
        threshold: τ, relative; at least 0. A larger one skips more.
        align_steps: A, how many first steps are always computed.
        estimator: the source of the ratio k. It belongs to this gate alone.
        budget: sets τ anew at every step, in the place of `threshold`. It belongs to this gate alone.

    Raises:
        UsageError: `threshold` or `align_steps` is out of range.
    """

    name = "gate"
    caches = True
    region = Region.OWN
    signal = Signal.INPUT
    predictor = RESIDUAL
    timestep: float | None = None

    def __init__(
        self, threshold: float, align_steps: int, estimator: Estimator, budget: Budget | None = None
    ) -> None:
        self.threshold = check_threshold(threshold)
        self.align_steps = check_count(
            align_steps, "align_steps", 0, hint="presets compute the first 5 or 10 steps before skipping any"
        )
        self.estimator = estimator
        self.budget = budget
        self.measures = Measure.CHANGES if budget is None else Measure.MISSES
        self.begin(total_steps=0)

    def begin(self, total_steps: int) -> None:
        """Forget everything: a generation of `total_steps` steps starts."""
        self.forget(total_steps)
        if self.budget is not None:
            self.budget.begin(total_steps, self.align_steps)

    def forget(self, total_steps: int) -> None:
        """Forget what was measured; a budget keeps what it has spent."""
        self._total_steps = total_steps
        self._error = 0.0
        self._output_norm: float | None = None
        self._innovation: float | None = None
        self.estimator.reset(total_steps, self.align_steps)

    def decide(self, index: int, input_change: float | None) -> Decision:
        """Decide step `index`, whose input moved by `input_change` (‖x_i − x_{i−1}‖) since the last one."""
        ratio = self.estimator.ratio_at(index)
        variance = self.estimator.variance_at(index)
        fixed = index < self.align_steps or index >= self._total_steps - 1
        change = None if fixed else _relative_change(ratio, input_change, self._output_norm)
        if change is None:
            self._error = 0.0
            if self.budget is not None:
                self.budget.forced(index, self.timestep)
            return Decision(True, True, ratio, variance, self._innovation, None, 0.0)
        error, threshold = self._error + change, self.threshold
        if self.budget is None:
            skip = error < threshold
        else:
            skip, threshold = self.budget.decide(index, error, self.timestep)
        self._error = error if skip else 0.0
        return Decision(
            not skip, False, ratio, variance, self._innovation, change, error, threshold=threshold
        )

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        """Measure z = ‖y_i − y_c‖ / (‖x_i − x_c‖ + 1e−8) and hand it to the estimator.

        A measurement that is not finite is not absorbed: it would stay in the filter for good.

        Returns:
            The innovation z − k, or None if there was nothing to measure or to compare with.
        """
        self._output_norm = output_norm
        self._error = 0.0  # also where the step was computed against this gate's advice
        if self.budget is not None:
            self.budget.overruled(index)
            if output_span is not None:
                self.budget.measure(output_span, output_span, output_norm)
        if input_span is None or output_span is None:
            return None
        z = output_span / (input_span + _SPAN_FLOOR)
        if not (math.isfinite(z) and math.isfinite(input_span)):
            return None
        self._innovation = self.estimator.measure(z, index)
        return self._innovation

    def missed(self, miss: float, change: float, norm: float) -> None:
        """A budget is shared out by what predictions miss."""
        if self.budget is not None:
            self.budget.measure(miss, change, norm)


def _relative_change(
    ratio: float | None, input_change: float | None, output_norm: float | None
) -> float | None:
    """k · ‖x_i − x_{i−1}‖ / ‖y_c‖, or None if it is unknown or not finite."""
    if ratio is None or input_change is None or not output_norm:
        return None
    change = ratio * input_change / output_norm
    # An infinite norm would pass for no change at all.
    return change if math.isfinite(change) and math.isfinite(output_norm) else None
