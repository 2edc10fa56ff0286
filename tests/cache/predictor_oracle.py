"""The calibrated predictor in plain Python: no running sums, all worked out from what was seen so far."""

from __future__ import annotations

import math


def dot(a, b):
    return sum(u * v for u, v in zip(a, b, strict=True))


def minus(a, b):
    return [u - v for u, v in zip(a, b, strict=True)]


def mix(*terms):
    """Σ factor · vector."""
    return [sum(f * v[j] for f, v in terms) for j in range(len(terms[0][1]))]


def between(t, first, last):
    """At t, the straight line through two (t_k, y_k)."""
    u = (t - first[0]) / (last[0] - first[0])
    return mix((1 - u, first[1]), (u, last[1]))


class Branch:
    """One branch's calls in order: those `computed` as (step, t, y), and what each of them `compared`."""

    def __init__(self):
        self.computed, self.compared = [], []
        self.run, self.error, self.parts = [], None, 0
        # How near a decision between predicting and holding came to falling otherwise.
        self.margin = 1.0

    def line(self, step):
        """w (y_c − y_p)."""
        (p, _, y_p), (c, _, y_c) = self.computed[-2:]
        return mix(((step - c) / (c - p), minus(y_c, y_p)))

    def coefficient(self):
        weights = [0.7**age for age in range(len(self.compared))][::-1]
        above = 3 + sum(w * one["across"] for w, one in zip(weights, self.compared, strict=True))
        below = 3 + sum(w * one["along"] for w, one in zip(weights, self.compared, strict=True))
        return min(max(above / below, 0), 1)

    def believed(self, misses, limit):
        """Whether the newest of `misses` and their weighted mean are below the limit."""
        if not misses:
            return False
        weights = [0.7**age for age in range(len(misses))][::-1]
        mean = dot(weights, misses) / sum(weights)
        self.margin = min(self.margin, abs(max(mean, misses[-1]) - limit))
        return max(mean, misses[-1]) < limit

    @property
    def uses(self):
        return self.believed([one["miss"] for one in self.compared], 1.0)

    @property
    def corrects(self):
        return self.believed([one["bend"] for one in self.compared], 0.5)

    def skip(self, step, t, gap):
        y = list(self.computed[-1][2])
        if self.uses:
            y = mix((1, y), (self.coefficient(), self.line(step)))
        if not self.corrects:
            self.error = None
        left = self.parts - len(self.run)
        self.run.append((t, gap, y))
        if self.error is None or left <= 0:
            return y
        correction = [min(1, gap / self.pace) * error / left / gap for error in self.error]
        self.error = [error - gap * part for error, part in zip(self.error, correction, strict=True)]
        return mix((1, y), (1, correction))

    def compute(self, step, t, y):
        known = [(t_k, y_k) for _, t_k, y_k in self.computed[-2:]] + [(t, y)]
        for t_j, gap, predicted in self.run:
            missed = mix((gap, between(t_j, *known[-2:])), (-gap, predicted))
            self.error = missed if self.error is None else mix((1, self.error), (1, missed))
        if self.run:
            self.pace = sum(gap for _, gap, _ in self.run) / len(self.run)
            self.parts, self.run = len(self.run), []
        if len(self.computed) > 1:
            self.learn(step, known)
        self.computed.append((step, t, y))

    def learn(self, step, known):
        (t_p, y_p), (t_c, y_c), (t, y) = known
        change, before = minus(y, y_c), minus(y_c, y_p)
        size = dot(change, change)
        left = mix((1, change), (-self.coefficient(), self.line(step)))
        bend = minus(y_c, between(t_c, known[0], known[2]))
        v = (t_c - t_p) / (t - t_p)
        noise = dot(bend, bend) / (1 + v * v + (1 - v) ** 2)
        w = (step - self.computed[-1][0]) / (self.computed[-1][0] - self.computed[-2][0])
        self.compared.append(
            {
                "miss": min(4.0, dot(left, left) / size),
                "bend": min(4.0, dot(bend, bend) / dot(before, before)),
                "across": w * (dot(before, change) + noise) / size,
                "along": w * w * max(dot(before, before) - 2 * noise, 0) / size,
            }
        )


def generate(model, latents, timesteps, combine, branches, computes):
    """Euler sampling that computes the steps `computes`; gives latents, all outputs, and the branches."""
    twins, outputs, x = [Branch() for _ in range(branches)], [], list(latents)
    for i, t in enumerate(timesteps):
        ys = []
        for b, twin in enumerate(twins):
            if i in computes:
                y = model(x, t, b)
                twin.compute(i, t, y)
            else:
                y = twin.skip(i, t, t - timesteps[i - 1])
            ys.append(y)
        outputs += ys
        after = timesteps[i + 1] if i + 1 < len(timesteps) else 0.0
        x = mix((1, x), (after - t, combine(ys)))
        assert all(map(math.isfinite, x))
    return x, outputs, twins
