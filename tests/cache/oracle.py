"""The method's equations in plain Python, written from the paper's symbols and sharing no code with the core.

Tensors are flat lists of floats, matrices are lists of rows, and everything is double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


def norm(values):
    return sum(abs(v) for v in values) / len(values)


def span(a, b):
    return norm([u - v for u, v in zip(a, b, strict=True)])


class Hold:
    def __init__(self, steps, align):
        self.k = None

    def absorb(self, z, i):
        self.k = z

    def at(self, i):
        return self.k, None


class Scalar:
    def __init__(self, steps, align):
        self.align, self.k, self.p = align, None, None

    def absorb(self, z, i):
        if i < self.align or self.k is None:
            self.k, self.p = z, 1.0
            return
        prior = self.p + 0.05
        gain = prior / (prior + 0.05 + 1e-8)
        self.k = self.k + gain * (z - self.k)
        self.p = (1 - gain) * prior

    def at(self, i):
        return self.k, self.p


def matmul(a, b):
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
    ]


class Dual:
    """State [log k, drift] by the textbook matrices, one transition a step."""

    phi, level_noise, drift_noise = 0.9, 0.00057, 0.095
    early, late, rise = 0.57, 0.028, 1.7

    def __init__(self, steps, align):
        self.steps, self.state, self.cov, self.last = steps, None, None, None

    def carried(self, i):
        f = [[1.0, self.phi], [0.0, self.phi]]
        ft = [[1.0, 0.0], [self.phi, self.phi]]
        state, cov = self.state, self.cov
        for _ in range(i - self.last):
            state = matmul(f, state)
            cov = matmul(matmul(f, cov), ft)
            cov = [[cov[0][0] + self.level_noise, cov[0][1]], [cov[1][0], cov[1][1] + self.drift_noise]]
        return state, cov

    def absorb(self, z, i):
        r = self.early + (self.late - self.early) * (i / self.steps) ** self.rise
        y = math.log(max(z, 1e-6))
        if self.state is None:
            self.state, self.cov = [[y], [0.0]], [[r, 0.0], [0.0, 1.0]]
        else:
            state, cov = self.carried(i)
            gain = [[cov[0][0] / (cov[0][0] + r)], [cov[1][0] / (cov[0][0] + r)]]
            self.state = [[state[j][0] + gain[j][0] * (y - state[0][0])] for j in range(2)]
            self.cov = matmul([[1 - gain[0][0], 0.0], [-gain[1][0], 1.0]], cov)
        self.last = i

    def at(self, i):
        if self.state is None:
            return None, None
        state, cov = self.carried(i)
        return math.exp(state[0][0]), cov[0][0]


FILTERS = {"hold": Hold, "scalar": Scalar, "dual": Dual}


@dataclass
class Row:
    """One step as the equations have it."""

    index: int
    compute: bool
    forced: bool
    k: float | None
    p: float | None
    change: float | None
    error: float
    innovation: float | None = None


class Gate:
    """Steps 1 and 3 of the method, on numbers."""

    def __init__(self, tau, align, steps, estimator):
        self.tau, self.align, self.steps = tau, align, steps
        self.filter = FILTERS[estimator](steps, align)
        self.error, self.y_norm = 0.0, None

    def decide(self, i, dx):
        k, p = self.filter.at(i)
        if i < self.align or i == self.steps - 1 or k is None:
            self.error = 0.0
            return Row(i, True, True, k, p, None, 0.0)
        change = k * dx / self.y_norm
        error = self.error + change
        compute = not error < self.tau
        self.error = 0.0 if compute else error
        return Row(i, compute, False, k, p, change, error)

    def measure(self, i, x_span, y_span, y_norm):
        """Returns z − k. The spans are None when nothing was computed before."""
        self.y_norm = y_norm
        if x_span is None:
            return None
        z = y_span / (x_span + 1e-8)
        k, _ = self.filter.at(i)
        self.filter.absorb(z, i)
        return None if k is None else z - k


@dataclass
class Run:
    rows: list[Row] = field(default_factory=list)
    outputs: list[list[float]] = field(default_factory=list)
    latents: list[float] = field(default_factory=list)

    def computed(self):
        return [row.compute for row in self.rows]

    def margin(self, tau):
        """How near any gate came to deciding otherwise, relative to τ; float32 must not be the judge."""
        gates = [abs(row.error - tau) for row in self.rows if not row.forced]
        return min(gates, default=1.0) / tau if tau else 1.0


def generate(model, latents, timesteps, combine, branches, gate):
    """Euler sampling with the cache inside. `model(x, t, b)` and `combine([y_b])` work on flat lists."""
    run = Run()
    previous, kept = None, {}
    for i, t in enumerate(timesteps):
        x = list(latents)
        row = gate.decide(i, span(x, previous) if previous is not None else None)
        previous, ys = x, []
        for b in range(branches):
            if not row.compute:
                x_c, y_c = kept[b]
                ys.append([u + (w - v) for u, v, w in zip(x, x_c, y_c, strict=True)])
                continue
            y = model(x, t, b)
            if b == 0:
                x_span, y_span = (span(x, kept[0][0]), span(y, kept[0][1])) if kept else (None, None)
                row.innovation = gate.measure(i, x_span, y_span, norm(y))
            kept[b] = (x, y)
            ys.append(y)
        run.rows.append(row)
        run.outputs += ys
        after = timesteps[i + 1] if i + 1 < len(timesteps) else 0.0
        latents = [u + (after - t) * v for u, v in zip(x, combine(ys), strict=True)]
    run.latents = latents
    return run
