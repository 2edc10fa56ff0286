"""What skipped steps missed, known in hindsight, and added at the skipped steps after them."""

from __future__ import annotations

from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.tensors import Tensors, float32_copy


class ErrorFeedback:
    """The error of one branch's predictions, each times the timesteps the sampler took with it.

    A sampler moves the latents by about the output times the step in noise level. Once step i is
    computed, the outputs skipped since c are known better than when they were predicted, by interpolation
    between y_c and y_i:

        error += Σ_j g_j (ỹ_j − ŷ_j),   ỹ_j = y_c + (t_j − t_c) / (t_i − t_c) · (y_i − y_c)

    over the skipped steps j between them, g_j the gap in timesteps before step j. The next run of skips
    corrects it, in as many equal parts as the run had that the error is from: its outputs are raised by
    error / (parts · g), or in proportion less where g is shorter than those gaps were on average. What
    remains waits for the next run. Over a whole generation the latents thus move as under the trapezoidal
    rule through the computed outputs, one run late, whatever was predicted; nothing is added to a computed
    output. All in float32.
    """

    def __init__(self) -> None:
        self._error: Tensors = ()
        self._predicted: Tensors = ()  # Σ g_j ŷ_j of the current run
        self._run: list[tuple[float, float]] = []  # its t_j and g_j
        self._parts = 0
        self._pace = 0.0  # mean g_j of the run the error is from

    @property
    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        return [self._error, self._predicted]

    def drop(self) -> None:
        """Forget the error: interpolation is not trusted here."""
        self._error = ()

    def correction(self, gap: float) -> Tensors:
        """What to add to a skipped output, taken off the error; empty where there is nothing to correct."""
        left = self._parts - len(self._run)
        if not self._error or left <= 0 or gap * self._pace <= 0:
            return ()
        # A step much shorter than those the error is from would have to be moved out of all proportion.
        share = min(1.0, gap / self._pace) / left
        part = tuple(error * (share / gap) for error in self._error)
        self._error = tuple(error * (1 - share) for error in self._error) if share < 1 else ()
        return part

    def skipped(self, timestep: float, gap: float, predicted: Tensors) -> None:
        """A step was skipped; `predicted` is its output, float32, without the correction."""
        weighted = tuple(gap * y for y in predicted)
        if self._predicted:
            weighted = tuple(new.add_(old) for old, new in zip(self._predicted, weighted, strict=True))
        self._predicted = weighted
        self._run.append((timestep, gap))

    def computed(self, timestep: float, outputs: Tensors, last: Kept) -> None:
        """The step at `timestep` was computed: `outputs` is y_i, `last` what was kept of step c."""
        if not self._run:
            return
        span = timestep - last.timestep
        weight = sum(gap for _, gap in self._run)
        share = sum(gap * (t - last.timestep) for t, gap in self._run) / span if span else 0.0
        missed = tuple(
            float32_copy(y_c).mul_(weight - share).add_(float32_copy(y).mul_(share)).sub_(predicted)
            for y, y_c, predicted in zip(outputs, last.outputs, self._predicted, strict=True)
        )
        if self._error:
            missed = tuple(new.add_(old) for old, new in zip(self._error, missed, strict=True))
        self._error, self._predicted = missed, ()
        self._parts, self._pace = len(self._run), weight / len(self._run)
        self._run = []
