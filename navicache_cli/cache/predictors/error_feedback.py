"""What skipped steps missed, known in hindsight, and paid back at the skipped steps after them."""

from __future__ import annotations

from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.tensors import Tensors


class Account:
    """The debt of one branch: what its predictions missed, each times the timesteps the sampler took with it.

    A sampler moves the latents by about the output times the step in noise level. Once step i is
    computed, the outputs skipped since c are known better than when they were predicted, by interpolation
    between y_c and y_i:

        owed += Σ_j g_j (ỹ_j − ŷ_j),   ỹ_j = y_c + (t_j − t_c) / (t_i − t_c) · (y_i − y_c)

    over the skipped steps j between them, g_j the gap in timesteps before step j. The next run of skips
    pays, in as many equal parts as the run had that the debt is from: its outputs are raised by
    owed / (parts · g), or in proportion less where g is shorter than those gaps were in the mean. What
    remains stays owed. In the sum over a generation the latents thus move as under the trapezoidal rule
    through the computed outputs, one run late, whatever was predicted; nothing is added to a computed
    output. All in float32.
    """

    def __init__(self) -> None:
        self.owed: Tensors = ()
        self._booked: Tensors = ()  # Σ g_j ŷ_j of the run under way
        self._run: list[tuple[float, float]] = []  # its t_j and g_j
        self._parts = 0
        self._pace = 0.0  # mean g_j of the run the debt is from

    @property
    def tensors(self) -> list[Tensors]:
        """All that is kept."""
        return [self.owed, self._booked]

    def write_off(self) -> None:
        """Forget the debt: interpolation is not believed here."""
        self.owed = ()

    def payment(self, gap: float) -> Tensors:
        """What to add to a skipped output, taken off the debt; empty where nothing is due."""
        left = self._parts - len(self._run)
        if not self.owed or left <= 0 or gap * self._pace <= 0:
            return ()
        # A step much shorter than those the debt is from would have to be moved out of all proportion.
        share = min(1.0, gap / self._pace) / left
        paid = tuple(debt * (share / gap) for debt in self.owed)
        self.owed = tuple(debt * (1 - share) for debt in self.owed) if share < 1 else ()
        return paid

    def book(self, timestep: float, gap: float, predicted: Tensors) -> None:
        """A step was skipped; `predicted` is its output, float32, without what was paid."""
        weighted = tuple(gap * y for y in predicted)
        if self._booked:
            weighted = tuple(old + new for old, new in zip(self._booked, weighted, strict=True))
        self._booked = weighted
        self._run.append((timestep, gap))

    def settle(self, timestep: float, outputs: Tensors, last: Kept) -> None:
        """The step at `timestep` was computed: `outputs` is y_i, `last` what was kept of step c."""
        if not self._run:
            return
        span = timestep - last.timestep
        weight = sum(gap for _, gap in self._run)
        share = sum(gap * (t - last.timestep) for t, gap in self._run) / span if span else 0.0
        missed = tuple(
            (weight - share) * y_c.float() + share * y.float() - booked
            for y, y_c, booked in zip(outputs, last.outputs, self._booked, strict=True)
        )
        if self.owed:
            missed = tuple(old + new for old, new in zip(self.owed, missed, strict=True))
        self.owed, self._booked = missed, ()
        self._parts, self._pace = len(self._run), weight / len(self._run)
        self._run = []
