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


def solve(a, b, c, p, q):
    """The 2 × 2 system [[a, b], [b, c]] z = [p, q], by elimination."""
    factor = b / a
    second = (q - factor * p) / (c - factor * b)
    return (p - b * second) / a, second


class Branch:
    """One branch's calls, in order. `computed` holds (t, x, y), `lessons` what each computed call taught."""

    def __init__(self):
        self.computed, self.lessons, self.bends = [], [], []
        self.run, self.owed, self.parts = [], None, 0
        # How near a decision between predicting and holding came to falling otherwise.
        self.margin = 1.0

    def feature(self, t):
        """w (y_c − y_p)."""
        (t_c, _, y_c), older = self.computed[-1], self.computed[-3:-1][::-1]
        if not older:
            return [0.0] * len(y_c)
        far = [one for one in older if abs(t_c - one[0]) * 1.0001 >= 2 * abs(t - t_c)] or older[-1:]
        w = min(1.0, (t - t_c) / (t_c - far[0][0]))
        return mix((w, y_c), (-w, far[0][2]))

    def coefficients(self):
        if not self.lessons:
            return 0.0, 0.0
        weights = [0.7**age for age in range(len(self.lessons))][::-1]
        sums = [
            sum(
                w * dot(one[a], one[b]) / dot(one["t"], one["t"])
                for w, one in zip(weights, self.lessons, strict=True)
            )
            for a, b in (("d1", "d1"), ("d1", "d2"), ("d2", "d2"), ("d1", "t"), ("d2", "t"))
        ]
        return solve(sums[0] + 0.05, sums[1], sums[2] + 0.05, sums[3], sums[4])

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
        return self.believed([one["miss"] for one in self.lessons[1:]], 0.9)

    @property
    def settles(self):
        return self.believed(self.bends, 0.5)

    def skip(self, t, gap, x):
        _, x_c, y_c = self.computed[-1]
        y = list(y_c)
        if self.uses:
            a, b = self.coefficients()
            y = mix((1, y_c), (a, minus(x, x_c)), (b, self.feature(t)))
        if not self.settles:
            self.owed = None
        left = self.parts - len(self.run)
        self.run.append((t, gap, y))
        if self.owed is None or left <= 0:
            return y
        payment = [min(1, gap / self.pace) * debt / left / gap for debt in self.owed]
        self.owed = [debt - gap * part for debt, part in zip(self.owed, payment, strict=True)]
        return mix((1, y), (1, payment))

    def compute(self, t, x, y):
        if self.computed:
            t_c, x_c, y_c = self.computed[-1]
            for t_j, gap, predicted in self.run:
                u = (t_j - t_c) / (t - t_c)
                missed = mix((gap * (1 - u), y_c), (gap * u, y), (-gap, predicted))
                self.owed = missed if self.owed is None else mix((1, self.owed), (1, missed))
            if self.run:
                self.pace = sum(gap for _, gap, _ in self.run) / len(self.run)
                self.parts, self.run = len(self.run), []
            lesson = {"d1": minus(x, x_c), "d2": self.feature(t), "t": minus(y, y_c)}
            a, b = self.coefficients()
            left = mix((1, lesson["t"]), (-a, lesson["d1"]), (-b, lesson["d2"]))
            lesson["miss"] = min(4.0, dot(left, left) / dot(lesson["t"], lesson["t"]))
            self.lessons.append(lesson)
            if len(self.computed) > 1:
                t_p, _, y_p = self.computed[-2]
                v = (t_c - t_p) / (t - t_p)
                bend = minus(y_c, mix((1 - v, y_p), (v, y)))
                change = minus(y_c, y_p)
                self.bends.append(min(4.0, dot(bend, bend) / dot(change, change)))
        self.computed.append((t, x, y))


def generate(model, latents, timesteps, combine, branches, computes):
    """Euler sampling that computes the steps `computes`; gives latents, all outputs, and the branches."""
    twins, outputs, x = [Branch() for _ in range(branches)], [], list(latents)
    for i, t in enumerate(timesteps):
        ys = []
        for b, twin in enumerate(twins):
            if i in computes:
                y = model(x, t, b)
                twin.compute(t, x, y)
            else:
                y = twin.skip(t, t - timesteps[i - 1], x)
            ys.append(y)
        outputs += ys
        after = timesteps[i + 1] if i + 1 < len(timesteps) else 0.0
        x = mix((1, x), (after - t, combine(ys)))
        assert all(map(math.isfinite, x))
    return x, outputs, twins
