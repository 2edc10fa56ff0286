"""The other papers' decision rules, written again from their published code, one loop each, on numbers."""

from __future__ import annotations

import math


def polynomial(coefficients, x):
    return sum(c * x**power for power, c in enumerate(reversed(coefficients)))


def teacache(changes, coefficients, threshold, first, last):
    """teacache_forward: `changes[i]` is the relative change at step i; `first` and `last` steps are run."""
    computed, accumulated = [], 0.0
    for count, change in enumerate(changes):
        if count < first or count >= len(changes) - last:
            should_calc, accumulated = True, 0.0
        else:
            accumulated += polynomial(coefficients, change)
            should_calc = not accumulated < threshold
            if should_calc:
                accumulated = 0.0
        computed.append(should_calc)
    return computed


def interpolated(ratios, steps):
    """nearest_interp: numpy's rounding, halves to even."""
    if len(ratios) == steps:
        return list(ratios)
    if steps == 1:
        return [ratios[-1]]
    scale = (len(ratios) - 1) / (steps - 1)
    picked = []
    for i in range(steps):
        low = math.floor(i * scale)
        rest = i * scale - low
        up = rest > 0.5 or (rest == 0.5 and low % 2 == 1)
        picked.append(ratios[low + up])
    return picked


def magcache(ratios, steps, threshold, most_skips, retention):
    """magcache_forward, of one branch."""
    ratios = interpolated(ratios, steps)
    computed, product, error, skips = [], 1.0, 0.0, 0
    for count in range(steps):
        skip = False
        if count >= int(steps * retention):
            product = product * ratios[count]
            skips += 1
            error += abs(1 - product)
            if error < threshold and skips <= most_skips:
                skip = True
            else:
                error, skips, product = 0.0, 0, 1.0
        computed.append(not skip)
    return computed


def taylorseer(steps, interval, first_enhance):
    """cal_type: a counter of predicted steps."""
    computed, counter = [], 0
    for step in range(steps):
        full = step < first_enhance or counter == interval - 1
        counter = 0 if full else counter + 1
        computed.append(full)
    return computed


class TaylorFactors:
    """derivative_approximation and taylor_formula, on one number."""

    def __init__(self, order):
        self.order, self.factors, self.at = order, [], None

    def update(self, step, value):
        new = [value]
        for i in range(self.order):
            if i >= len(self.factors):
                break
            new.append((new[i] - self.factors[i]) / (step - self.at))
        self.factors, self.at = new, step

    def predict(self, step):
        x = step - self.at
        return sum(factor * x**i / math.factorial(i) for i, factor in enumerate(self.factors))


def pab(steps, timesteps, ranges, window):
    """if_broadcast_*: for each step, the kinds whose output is used again."""
    counts = dict.fromkeys(ranges, 0)
    reused = []
    for step in range(steps):
        kinds = []
        for kind, every in ranges.items():
            if counts[kind] % every != 0 and window[0] < int(timesteps[step]) < window[1]:
                kinds.append(kind)
            counts[kind] = (counts[kind] + 1) % steps
        reused.append(tuple(kinds))
    return reused
