"""Filters that estimate the feature-change ratio k: how far the output moves per unit of input movement.

Each takes the measured ratios z of computed steps and says what k is at the step being decided.
"""

from __future__ import annotations

import math
from typing import Protocol

# Smallest ratio the logarithm is taken of: an output that did not move at all measures z = 0.
_SMALLEST_RATIO = 1e-6
# exp() of more than this overflows a float.
_LARGEST_LOG = 700.0


class Estimator(Protocol):
    """Source of the ratio k for the gate."""

    name: str

    def reset(self, total_steps: int, align_steps: int) -> None:
        """Forget everything: a generation of N `total_steps`, the first A `align_steps` of them computed."""

    def measure(self, z: float, index: int) -> float | None:
        """Absorb the finite ratio `z` measured at step `index`; return z − k, or None if k was unknown."""

    def ratio_at(self, index: int) -> float | None:
        """k as predicted for step `index`, not before the step measured last; None before any measurement."""

    def variance_at(self, index: int) -> float | None:
        """Variance of what `ratio_at` says, in the filter's own units; None where there is none."""


class ZeroOrderHold:
    """k = z: the ratio measured last, with no notion of its uncertainty (EasyCache, arXiv 2507.02860)."""

    name = "hold"

    def __init__(self) -> None:
        self._ratio: float | None = None

    def reset(self, total_steps: int, align_steps: int) -> None:
        self._ratio = None

    def measure(self, z: float, index: int) -> float | None:
        """Hold `z` from now on; return z − k, or None if k was unknown."""
        innovation = None if self._ratio is None else z - self._ratio
        self._ratio = z
        return innovation

    def ratio_at(self, index: int) -> float | None:
        """The ratio measured last, whatever the step; None before any measurement."""
        return self._ratio

    def variance_at(self, index: int) -> float | None:
        """None: a held value has no variance."""
        return None


class ScalarKalman:
    """The scalar Kalman filter of NaviCache's published code (arXiv 2606.26795): k is a random walk.

    During alignment, and on the first measurement: k = z, P = 1. Afterwards
    P⁻ = P + Q;  K = P⁻ / (P⁻ + R + 1e−8);  k ← k + K (z − k);  P ← (1 − K) P⁻.
    One P + Q per measurement, however many steps it spans, and no prediction in between: so does the
    published code, and the presets' thresholds were set with it.

    Args:
        process_noise: Q, in units of k².
        measurement_noise: R, in units of k².
    """

    name = "scalar"

    def __init__(self, process_noise: float = 0.05, measurement_noise: float = 0.05) -> None:
        self.process_noise = process_noise
        self.measurement_noise = measurement_noise
        self.reset(total_steps=0, align_steps=0)

    def reset(self, total_steps: int, align_steps: int) -> None:
        self._align_steps = align_steps
        self._ratio: float | None = None
        self._variance: float | None = None

    def measure(self, z: float, index: int) -> float | None:
        """Absorb `z`; return z − k, or None if k was unknown."""
        if self._ratio is None or self._variance is None:
            self._ratio, self._variance = z, 1.0
            return None
        innovation = z - self._ratio
        if index < self._align_steps:
            self._ratio, self._variance = z, 1.0
            return innovation
        variance = self._variance + self.process_noise
        gain = variance / (variance + self.measurement_noise + 1e-8)
        self._ratio += gain * innovation
        self._variance = (1 - gain) * variance
        return innovation

    def ratio_at(self, index: int) -> float | None:
        """k, whatever the step; None before any measurement."""
        return self._ratio

    def variance_at(self, index: int) -> float | None:
        """P, in units of k²; None before any measurement."""
        return self._variance


class DualKalman:
    """Tracks the ratio and its drift, in logarithms: the dual state the NaviCache paper describes.

    State s = [log k, drift per step], covariance C (2 × 2). Over one step, φ the damping:

        F = [[1, φ], [0, φ]];   s ← F s;   C ← F C Fᵀ + diag(level_noise, drift_noise)

    applied once per step of the gap since the last measurement, so uncertainty grows with the gap and
    the drift fades. A measurement log z at step i is the level plus noise of variance R(i/N); the
    update is the usual one with H = [1, 0]. The first measurement sets s = [log z, 0] and
    C = diag(R, 1). Alignment needs no rule of its own: the filter learns the drift during it.

    Noise schedule, u = i/N:  R(u) = early_noise + (late_noise − early_noise) · u^rise.
    Measurements are trusted more towards the end, where the ratio turns.

    The defaults are what scripts/tune_dual.py found on ratios of two models, judged by the mean relative
    error of the one-step-ahead prediction from step 6 on. On prompts held out of the search that is 0.251
    for an Open-Sora-class model (scalar filter 0.285, last ratio held 0.296) and 0.107 for tiny (0.147,
    0.121); see docs/estimators.md.

    Args:
        level_noise: variance added to log k per step.
        drift_noise: variance added to the drift per step.
        damping: φ, what is left of the drift after a step.
        early_noise: R at the first step, in log units squared.
        late_noise: R at the end.
        rise: the power of u by which R goes from one to the other.
    """

    name = "dual"

    def __init__(
        self,
        level_noise: float = 0.00057,
        drift_noise: float = 0.095,
        damping: float = 0.9,
        early_noise: float = 0.57,
        late_noise: float = 0.028,
        rise: float = 1.7,
    ) -> None:
        self.level_noise = level_noise
        self.drift_noise = drift_noise
        self.damping = damping
        self.early_noise = early_noise
        self.late_noise = late_noise
        self.rise = rise
        self.reset(total_steps=0, align_steps=0)

    def reset(self, total_steps: int, align_steps: int) -> None:
        self._total_steps = max(total_steps, 1)
        self._index: int | None = None
        self._level = self._drift = 0.0
        # Entries of C: var(level), cov(level, drift), var(drift).
        self._covariance = (0.0, 0.0, 0.0)

    def noise_at(self, index: int) -> float:
        """R, the variance of a measured log z, at step `index`."""
        progress: float = (index / self._total_steps) ** self.rise
        return self.early_noise + (self.late_noise - self.early_noise) * progress

    def measure(self, z: float, index: int) -> float | None:
        """Absorb `z`; return z − k with k predicted for this step, or None if it was unknown."""
        noise = self.noise_at(index)
        log_z = math.log(max(z, _SMALLEST_RATIO))
        predicted = self.ratio_at(index)
        if predicted is None:
            self._level, self._drift, self._covariance = log_z, 0.0, (noise, 0.0, 1.0)
        else:
            level, drift, (p00, p01, p11) = self._predict(index)
            level_gain, drift_gain = p00 / (p00 + noise), p01 / (p00 + noise)
            self._level = level + level_gain * (log_z - level)
            self._drift = drift + drift_gain * (log_z - level)
            self._covariance = ((1 - level_gain) * p00, (1 - level_gain) * p01, p11 - drift_gain * p01)
        self._index = index
        return None if predicted is None else z - predicted

    def ratio_at(self, index: int) -> float | None:
        """exp of the level predicted for step `index`; None before any measurement."""
        if self._index is None:
            return None
        return math.exp(min(self._predict(index)[0], _LARGEST_LOG))

    def variance_at(self, index: int) -> float | None:
        """Variance of the level predicted for step `index`, in log units squared; None before any."""
        if self._index is None:
            return None
        return self._predict(index)[2][0]

    def _predict(self, index: int) -> tuple[float, float, tuple[float, float, float]]:
        """Level, drift and covariance carried from the last measured step to `index`."""
        level, drift, (p00, p01, p11) = self._level, self._drift, self._covariance
        phi = self.damping
        for _ in range(index - (self._index or 0)):
            level, drift = level + phi * drift, phi * drift
            p00 = p00 + 2 * phi * p01 + phi * phi * p11 + self.level_noise
            p01 = phi * p01 + phi * phi * p11
            p11 = phi * phi * p11 + self.drift_noise
        return level, drift, (p00, p01, p11)
