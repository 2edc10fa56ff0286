"""How far off the final latents will be, predicted from what is measured anyway, and how sure that is.

Plain arithmetic on a handful of floats per step; no tensors. See docs/predictors.md for where it is from and
how well it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from navicache_cli.cache.growth import growth
from navicache_cli.cache.policies.policy import Decision, Measured, Policy, Region, Signal
from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.errors import UsageError

CONFIDENCE = 0.9
_DEVIATIONS = 1.645  # of a normal variable, within which it lies with that probability
# Cosine between moves of the latents, 1 on a straight path and 0 for noise: 0.77 to 1 on tiny by its own
# samplers, at 10 to 50 steps and guidance 1 to 8; at most 0.06 with half of the noise drawn afresh each step.
_LEAST_COSINE = 0.5


@dataclass(frozen=True)
class Scale:
    """What was measured of the truth over its estimate: geometric mean, and deviation of the logarithm."""

    factor: float
    spread: float


# By predictor. Measured on tiny under six conditions (shift and guidance), on prompts that are not those the
# figures in docs/predictors.md are from; the spread has that between conditions in it:
# python scripts/measure_error_bar.py --raw --seed 5 --count 8 --set shift=1 --set guidance=12, and so on.
SCALES = {
    "residual": Scale(0.76, 0.36),
    "hold": Scale(0.80, 0.38),
    "calibrated": Scale(0.45, 0.62),
}


@dataclass(frozen=True)
class ErrorBar:
    """A predicted error, relative, and the band it lies in with probability CONFIDENCE."""

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class _Computed:
    """The last computed step, c: its timestep, ‖y_c‖, ‖x_c‖."""

    timestep: float
    output_norm: float
    input_norm: float


class ErrorEstimate:
    """Predicts the relative error of one generation's final latents.

    The sampler moves the latents from x_j to x_{j+1} as the output of step j tells it. An output that is
    wrong by some share of itself moves them wrong by about that share. Latents that are off their path lead
    to outputs that are off, so what is wrong grows, most where there is most noise. With c a computed step, i
    the next one, and J the skipped steps between them, for each i in turn:

        u = ‖y_i − y_c‖ / ‖y_c‖
        w ← w + growth(t_c / t_0) q u Σ_{j ∈ J} θ_j ‖x_{j+1} − x_j‖,     θ_j = (t_j − t_c) / (t_i − t_c)
        error = a w / ‖x_i‖

    q is what the predictor misses of the output's change (see `missed_share`), a is measured, see `SCALES`.
    Until step i has been computed, q times the gate's accumulated error is added in the place of q u.

    A sampler that draws fresh noise at every step moves the latents, and changes the outputs, by that noise;
    neither is an error, and none is predicted. Such moves do not add up: with m_j = ‖x_{j+1} − x_j‖ over
    the steps from c to i, Σ (‖x_i − x_c‖² − Σ m_j²) / Σ ((Σ m_j)² − Σ m_j²) is the mean cosine between them.

    Args:
        predictor: name of what rebuilds skipped outputs; "" where no error can be predicted.
        limit: the error beyond which no further step may be skipped, or None.

    Raises:
        UsageError: the limit is not above 0.

    Attributes:
        limit: as given.
        sees_latents: whether x is what the sampler moves, and y what it moves it by.
        several_loops: whether the video is made of several loops' latents, of which only the last are known.
    """

    def __init__(self, predictor: str, limit: float | None = None) -> None:
        self._predictor = predictor
        self._scale = SCALES.get(predictor)
        if limit is not None:
            check_max_error(limit)
        self.limit = limit
        self.sees_latents = True
        self.several_loops = False
        self.begin()

    def begin(self) -> None:
        """Forget everything: a generation starts."""
        self._wrong = 0.0  # w: how far off the latents are by the runs that are over
        self._open = 0.0  # and by the current run, as predicted
        self._run: list[tuple[float, float]] = []  # t_j and ‖x_{j+1} − x_j‖ of its steps
        self._moves: list[float] = []  # the latter since c, and so with the move that step c made
        self._aligned = self._alignable = 0.0  # the two sums of the mean cosine
        self._skipped_at: float | None = None  # timestep of the last step, if it was skipped
        self._last: _Computed | None = None
        self._first: float | None = None  # t of the first step
        self._share = 1.0
        self._skips = False
        self._lost = False
        self._stopped = False

    def lose(self) -> None:
        """What was measured fits no more: no error can be predicted for this generation."""
        self._lost = True

    @property
    def withheld(self) -> str:
        """Why no error is predicted; "" where one is."""
        if self._scale is None:
            return "none is known for this method and predictor"
        if not self._skips:
            return ""
        if not self.sees_latents:
            return "the cached region sees no latents"
        if self.several_loops:
            return "the sampler makes the video in several loops"
        if self._aligned < _LEAST_COSINE * self._alignable:
            return "the latents do not move along a path: the sampler seems to add fresh noise at each step"
        if self._lost or not math.isfinite(self._estimate):
            return "what was measured does not allow it"
        return ""

    @property
    def _estimate(self) -> float:
        """The error as the equations have it."""
        norm = self._last.input_norm if self._last else math.nan
        factor = self._scale.factor if self._scale else math.nan
        return factor * (self._wrong + self._open) / norm if self._skips else 0.0

    @property
    def error(self) -> float | None:
        """The error as predicted now; None where it is `withheld`."""
        return None if self.withheld else self._estimate

    @property
    def error_bar(self) -> ErrorBar | None:
        """The same with its uncertainty."""
        error = self.error
        if error is None or self._scale is None:
            return None
        width = math.exp(_DEVIATIONS * self._scale.spread)
        return ErrorBar(error, error / width, error * width)

    def step(self, timestep: float, input_change: float | None, decision: Decision) -> Decision:
        """A step starts and has been decided.

        Args:
            timestep: t_i.
            input_change: ‖x_i − x_{i−1}‖.
            decision: what the policy says.

        Returns:
            The decision, or another: computed, because the error would have passed its limit.
        """
        self._first = timestep if self._first is None else self._first
        self._moves.append(input_change or 0.0)
        if self._skipped_at is not None:
            self._lost |= input_change is None
            self._run.append((self._skipped_at, input_change or 0.0))
            self._skipped_at = None
        if decision.compute:
            return decision
        before = self._open, self._skips
        self._skips, self._skipped_at = True, timestep
        self._open = self._of_run(timestep, input_change, decision.accumulated_error)
        if self.limit is None or self._within_limit():
            return decision
        (self._open, self._skips), self._skipped_at = before, None
        self._stopped = True
        return replace(decision, compute=True, stopped=True)

    def _within_limit(self) -> bool:
        error = self.error
        return not self._stopped and self.limit is not None and error is not None and error <= self.limit

    def computed(self, timestep: float, measured: Measured, fit: Fit | None) -> None:
        """A computed step has been measured.

        Args:
            timestep: t_i.
            measured: what was measured.
            fit: what the predictor knows since, if it learns.
        """
        if measured.output_norm is None:
            return
        self._share = missed_share(self._predictor, measured, fit)
        if self._last is not None and measured.output_span is not None:
            change = measured.output_span / self._last.output_norm
            self._wrong += self._grown(change * self._moved(timestep)) if self._run else 0.0
        elif self._run:
            # Another model computed this step: no hindsight, and what was predicted of the run stands.
            self._wrong += self._open
        if measured.input_span is not None:
            squares, length = sum(move * move for move in self._moves), sum(self._moves)
            self._aligned += measured.input_span * measured.input_span - squares
            self._alignable += length * length - squares
        self._run, self._moves, self._open = [], [], 0.0
        self._last = _Computed(timestep, measured.output_norm or math.nan, measured.input_norm or math.nan)

    def _of_run(self, timestep: float, move: float | None, change: float | None) -> float:
        """How far off the current run puts the latents, if the step at `timestep` is its last.

        That step moves them about as far as the one before it, by `move`.
        """
        if change is None or move is None:
            return math.nan
        return self._grown(change * (self._moved(timestep) + move))

    def _grown(self, changed: float) -> float:
        """What is missed of this, as it will be at the end: the run began with the noise of step c."""
        grown = growth(self._last.timestep, self._first) if self._last and self._first is not None else 1.0
        return self._share * changed * grown

    def _moved(self, timestep: float) -> float:
        """Σ θ_j ‖x_{j+1} − x_j‖ over the run, with θ = 1 at `timestep`."""
        if self._last is None or timestep == self._last.timestep:
            return math.nan
        start = self._last.timestep
        return sum((t - start) / (timestep - start) * move for t, move in self._run)


def estimate_for(policy: Policy, predictor: str, limit: float | None) -> ErrorEstimate:
    """The estimate for a policy and the predictor of this name.

    Raises:
        UsageError: the limit is not above 0, or no error is predicted to hold against it.
    """
    # Where all is computed there is no error. For other papers' methods too little is measured.
    by_input = policy.measures.changes and policy.signal is Signal.INPUT
    exact = not policy.caches and policy.region is not Region.ATTENTION
    estimate = ErrorEstimate(predictor if by_input or exact else "", limit)
    if limit is not None and estimate.withheld:
        raise UsageError(
            "max_error expects a method and a predictor whose error is predicted, found "
            f"{policy.name} with {predictor}",
            hint="use navicache or easycache with residual, hold or calibrated, or leave max_error out",
        )
    return estimate


def check_max_error(value: float) -> None:
    """Check that a bound of the error is one.

    Raises:
        UsageError: it is not above 0.
    """
    if not value > 0:
        raise UsageError(
            f"max_error expects more than 0, found {value:g}", "max_error=0.05; the method off makes no error"
        )


def missed_share(predictor: str, measured: Measured, fit: Fit | None) -> float:
    """What a predictor misses of the output's change, as a share of it.

    Holding misses all of it. Residual reuse misses (y_i − x_i) − (y_c − x_c); changes of input and output
    have been found to be at right angles but for little. A calibrated predictor has its record.
    """
    if predictor == "calibrated":
        return fit.record if fit is not None and fit.used and fit.record is not None else 1.0
    if predictor == "residual" and measured.output_span and measured.input_span is not None:
        return math.hypot(1.0, measured.input_span / measured.output_span)
    return 1.0
