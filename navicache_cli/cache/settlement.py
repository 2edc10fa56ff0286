"""What skipped steps missed, known in hindsight, and paid back at the skipped steps after them."""

from __future__ import annotations

from collections.abc import Sequence

from navicache_cli.cache.predictor import Kept
from navicache_cli.cache.tensors import Tensors


class Account:
    """The debt of one branch: what its predictions missed, each times the timesteps the sampler took with it.

    A sampler moves the latents by about the output times the step in noise level. Once step i is
    computed, the outputs skipped since c are known better than when they were predicted, by the parabola
    through y_i, y_c and y_p, p being the step computed before c:

        owed += Σ_j g_j (ỹ_j − ŷ_j),   ỹ_j = Σ_k L_k(t_j) y_k,   L_k(t) = Π_{m ≠ k} (t − t_m) / (t_k − t_m)

    over the skipped steps j between them, g_j the gap in timesteps before step j. The next run of skips
    pays, in as many equal parts as the run had that the debt is from: its outputs are raised by
    owed / (parts · g), or in proportion less where g is shorter than those gaps were in the mean. What
    remains stays owed. In the sum over a generation the latents thus move as under a quadrature
    of the computed outputs, one run late, whatever was predicted; nothing is added to a computed
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

    def settle(self, timestep: float, outputs: Tensors, history: Sequence[Kept]) -> None:
        """The step at `timestep` was computed: `outputs` is y_i, `history` what was kept, c first."""
        if not self._run:
            return
        known = [(timestep, outputs), *((kept.timestep, kept.outputs) for kept in history[:2])]
        weights = quadrature_weights([t for t, _ in known], self._run)
        missed = tuple(-booked for booked in self._booked)
        for weight, (_, values) in zip(weights, known, strict=True):
            missed = tuple(sum_ + weight * y.float() for sum_, y in zip(missed, values, strict=True))
        if self.owed:
            missed = tuple(old + new for old, new in zip(self.owed, missed, strict=True))
        self.owed, self._booked = missed, ()
        self._parts = len(self._run)
        self._pace = sum(gap for _, gap in self._run) / self._parts
        self._run = []


def quadrature_weights(nodes: Sequence[float], points: Sequence[tuple[float, float]]) -> list[float]:
    """Σ_j g_j L_k(t_j) for each node k; nodes that repeat an earlier one weigh nothing.

    Args:
        nodes: where the interpolated function is known.
        points: t_j and g_j.
    """
    distinct = [k for k, node in enumerate(nodes) if node not in nodes[:k]]
    weights = [0.0] * len(nodes)
    for t, gap in points:
        for k in distinct:
            share = gap
            for m in distinct:
                if m != k:
                    share *= (t - nodes[m]) / (nodes[k] - nodes[m])
            weights[k] += share
    return weights
