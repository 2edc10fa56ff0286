"""Wan2.1's two samplers for rectified flow: UniPC (arXiv 2302.04867) and DPM-Solver++ (arXiv 2211.01095).

Both walk x_sigma = (1 - sigma) x0 + sigma * noise from sigma near 1 down to 0, for a model that predicts
the velocity noise - x0. They are second order multistep methods on x0 predictions: a step is exact in the
linear part of the ODE and extrapolates x0 over lambda = log((1 - sigma) / sigma), half the log-SNR.

Schedules, orders and rounding are those of the official FlowUniPCMultistepScheduler and
FlowDPMSolverMultistepScheduler as Wan's text2video.py drives them; the tests hold both to 1e-5.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from navicache_cli.errors import UsageError

SOLVERS = ("unipc", "dpm++")
TRAIN_TIMESTEPS = 1000  # the model was trained on timesteps sigma * 1000


class Solver(Protocol):
    """A sampler for one generation of N steps.

    Attributes:
        sigmas: [N+1] float32 on the CPU, noise levels from about 1 to exactly 0.
        timesteps: [N] int64 on the CPU, what the model is told before each step.
    """

    sigmas: Tensor
    timesteps: Tensor

    def step(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """Move `sample` one noise level down.

        Args:
            model_output: velocity predicted at the current timestep, any shape.
            sample: what the model was shown, same shape.

        Returns:
            The sample at the next noise level, same shape; after the last step, x0.

        Raises:
            RuntimeError: all N steps were taken already.
        """
        ...


def make_solver(name: str, steps: int, shift: float) -> Solver:
    """Make the sampler called `name` (one of SOLVERS), for one generation of `steps` steps.

    `shift` is Wan's timestep shift: above 1 it spends more steps at high noise.

    Raises:
        UsageError: an unknown name, steps below 1, or a shift that is not positive.
    """
    makers: dict[str, type[FlowUniPC] | type[FlowDPMpp]] = {"unipc": FlowUniPC, "dpm++": FlowDPMpp}
    if name not in makers:
        raise UsageError(f"expected a solver out of {', '.join(SOLVERS)}; found {name!r}", "--solver unipc")
    return makers[name](steps, shift)


class FlowUniPC:
    """UniPC-2 with B(h) = e^h - 1 on x0 predictions, corrector on: Wan's default sampler.

    Every model call serves twice: it corrects the step that led here (UniC), then predicts the next one
    (UniP), both in Section 3 of the paper. The corrector raises the order of accuracy from 2 to 3, except at
    the two ends, where there is one x0 only or an infinite step.
    """

    def __init__(self, steps: int, shift: float) -> None:
        # Wan starts below 1: its training sigmas are k/1000 for k = 0..999, kept in float32.
        self.sigmas, self.timesteps = _schedule(
            steps, shift, first=float(np.float32(1 - 1 / TRAIN_TIMESTEPS))
        )
        self._lambdas = [_log_snr(s) for s in self.sigmas.tolist()]
        self._index = 0
        self._order = 0
        self._x0s: list[Tensor] = []  # x0 predictions at the current and the previous level, latest first
        self._last_sample: Tensor | None = None

    def step(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """Correct the last step with this model output, then predict the next (see `Solver.step`)."""
        i, steps = self._index, len(self.timesteps)
        _refuse_past_the_end(i, steps)
        x0 = sample - self.sigmas[i].item() * model_output
        if self._last_sample is not None:
            sample = self._corrected(x0, self._last_sample)
        self._x0s = [x0, *self._x0s[:1]]
        self._last_sample = sample
        # First order where there is no second x0 yet, and into sigma 0, where lambda is infinite.
        self._order = min(len(self._x0s), steps - i)
        self._index += 1
        return self._predicted(sample)

    def _predicted(self, sample: Tensor) -> Tensor:
        """UniP: from `sample`, one level up, to the level of `_index`; never looks at that level."""
        base, alpha_b, _, ratio = self._linear_part(sample)
        if self._order == 1:
            return base
        # The paper's closed form for order 2 is rho = 1/2 whatever the ratio of the steps.
        return base - (0.5 * alpha_b / ratio) * (self._x0s[1] - self._x0s[0])

    def _corrected(self, x0: Tensor, last_sample: Tensor) -> Tensor:
        """UniC: take the last step again, now knowing `x0` at the level it led to."""
        base, alpha_b, h, ratio = self._linear_part(last_sample)
        if self._order == 1:  # again the paper's closed form, rho = 1/2
            return base - (0.5 * alpha_b) * (x0 - self._x0s[0])
        # Solve R rho = b for nodes (ratio, 1): rho_1 + rho_2 = b_1 and ratio rho_1 + rho_2 = b_2.
        b = math.expm1(h)
        phi_2 = b / h - 1  # h phi_2(h), then the same for phi_3
        phi_3 = phi_2 / h - 0.5
        b_1, b_2 = phi_2 / b, 2 * phi_3 / b
        rho_1 = (b_1 - b_2) / (1 - ratio)
        rho_2 = b_1 - rho_1
        previous = (self._x0s[1] - self._x0s[0]) / ratio
        return base - alpha_b * (rho_1 * previous + rho_2 * (x0 - self._x0s[0]))

    def _linear_part(self, sample: Tensor) -> tuple[Tensor, float, float, float]:
        """First order step from level `_index - 1` to `_index`; with it alpha B(h), h and the ratio r.

        h < 0: for x0 predictions the paper's formulas hold with minus the step in lambda. r says how far
        back, in units of this step, the x0 before lies (negative; 0 for first order, which has none).
        """
        t, s = self._index, self._index - 1
        sigma_t, sigma_s = self.sigmas[t].item(), self.sigmas[s].item()
        h = self._lambdas[t] - self._lambdas[s]
        ratio = (self._lambdas[s - 1] - self._lambdas[s]) / h if self._order == 2 else 0.0
        alpha_b = (1 - sigma_t) * math.expm1(-h)
        return (sigma_t / sigma_s) * sample - alpha_b * self._x0s[0], alpha_b, -h, ratio


class FlowDPMpp:
    """DPM-Solver++(2M) with the midpoint rule, Wan's `--sample_solver dpm++`.

    Algorithm 2 of the paper. The first step starts at pure noise (lambda = -inf), so the second
    one gets no use out of the first x0 and is of first order too, as it is in Wan.
    """

    def __init__(self, steps: int, shift: float) -> None:
        self.sigmas, self.timesteps = _schedule(steps, shift, 1.0)
        self._lambdas = [_log_snr(s) for s in self.sigmas.tolist()]
        self._index = 0
        self._last_x0: Tensor | None = None

    def step(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """Take one step (see `Solver.step`); computed in float32, returned in the x0 prediction's dtype."""
        i, steps = self._index, len(self.timesteps)
        _refuse_past_the_end(i, steps)
        sigma_s, sigma_t = self.sigmas[i].item(), self.sigmas[i + 1].item()
        x0 = sample - sigma_s * model_output
        h = self._lambdas[i + 1] - self._lambdas[i]
        alpha_b = (1 - sigma_t) * math.expm1(-h)
        moved = (sigma_t / sigma_s) * sample.float() - alpha_b * x0
        # Into sigma 0 the step is infinite, and only first order makes sense.
        if self._last_x0 is not None and i < steps - 1:
            h_last = self._lambdas[i] - self._lambdas[i - 1]
            moved = moved - (0.5 * alpha_b * h / h_last) * (x0 - self._last_x0)
        self._last_x0 = x0
        self._index += 1
        return moved.to(x0.dtype)


def _schedule(steps: int, shift: float, first: float) -> tuple[Tensor, Tensor]:
    """N levels evenly from `first` towards 0, shifted by s -> shift s / (1 + (shift - 1) s), then 0.

    In float64 until the end, and timesteps cut off rather than rounded, as in Wan: both show in the model's
    time embedding.
    """
    if steps < 1:
        raise UsageError(f"expected at least 1 step; found {steps}", "--steps 50")
    if not (shift > 0 and math.isfinite(shift)):
        raise UsageError(f"expected a positive shift; found {shift}", "--shift 5")
    even = np.linspace(first, 0, steps + 1)
    sigmas = shift * even / (1 + (shift - 1) * even)
    timesteps = (sigmas[:-1] * TRAIN_TIMESTEPS).astype(np.int64)
    return torch.from_numpy(sigmas.astype(np.float32)), torch.from_numpy(timesteps)


def _log_snr(sigma: float) -> float:
    """lambda = log(alpha / sigma) for alpha = 1 - sigma; infinite at the ends."""
    if sigma <= 0:
        return math.inf
    return math.log1p(-sigma) - math.log(sigma) if sigma < 1 else -math.inf


def _refuse_past_the_end(index: int, steps: int) -> None:
    if index >= steps:
        raise RuntimeError(
            f"expected at most {steps} steps from this solver; make a new one for each generation"
        )
