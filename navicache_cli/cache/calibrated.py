"""A predictor that learns, at every computed step, how best to rebuild a skipped one from what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from navicache_cli.cache.calibration import Fit, TrendFilter, products_of
from navicache_cli.cache.predictor import Keep, Kept
from navicache_cli.cache.settlement import Account
from navicache_cli.cache.tensors import Tensors, same_layout

# The trend is taken over at least so many times the gap it is carried across: noise grows with the quotient.
SPAN = 2.0
SLACK = 1e-4  # twice but for rounding is twice: a tie is not left to the last bit of a timestep


@dataclass(frozen=True)
class Lesson:
    """What was measured at a computed call, not read from its device yet.

    Attributes:
        branch: which.
        numbers: eight 0-dim tensors, see `calibration.products_of`.
        place: see `calibration.Products`; None where only one step had been computed before.
    """

    branch: int
    numbers: list[torch.Tensor]
    place: float | None


class Calibrated:
    """y_i ≈ y_c + a_1 (x_i − x_c) + a_2 w (y_c − y_p) + payment, with a_1 and a_2 learnt; else y_c + payment.

    c is the last computed step and p an earlier one, w = (t_i − t_c) / (t_c − t_p) in the model's
    timesteps: p is the latest computed step with |t_c − t_p| ≥ 2 |t_i − t_c|, or the oldest kept, and
    then w is at most 1. Each branch learns for itself (`calibration.TrendFilter`) from what it would have
    predicted at the steps it computed, and holds y_c where that was no better than holding. Residual
    reuse is a_1 = 1, a_2 = 0.

    The payment is a part of what earlier predictions are known to have missed (`settlement.Account`);
    there is none where interpolating between computed outputs has been no good.

    Kept are x_c, y_c, the outputs of the two steps computed before, the debt, and during a run of skips what
    is booked of it: four to six tensors of x's size a branch.
    """

    name = "calibrated"
    keeps = Keep.BOTH
    depth = 2  # outputs kept besides y_c

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything learnt and owed."""
        self._calibrations: dict[int, TrendFilter] = {}
        self._accounts: dict[int, Account] = {}

    def fit(self, branch: int) -> Fit:
        """What is known of a branch."""
        found = self._calibrations.get(branch)
        return Fit() if found is None else found.fit

    @property
    def tensors(self) -> list[Tensors]:
        """All that the accounts keep."""
        return [group for account in self._accounts.values() for group in account.tensors]

    @torch.no_grad()
    def rebuild(
        self, branch: int, timestep: float, gap: float, inputs: Tensors, history: Sequence[Kept]
    ) -> Tensors:
        """The output of a skipped step.

        Args:
            branch: which.
            timestep: t_i.
            gap: t_i − t_{i−1}.
            inputs: x_i.
            history: what was kept of computed calls, the newest first.
        """
        fit, account = self.fit(branch), self._accounts.setdefault(branch, Account())
        if not fit.settles:
            account.write_off()
        payment = account.payment(gap)
        rebuilt = self._predict(fit, timestep, inputs, history)
        account.book(timestep, gap, rebuilt)
        if payment:
            rebuilt = tuple(y + part for y, part in zip(rebuilt, payment, strict=True))
        # Copies even where nothing was added: a sampler may write into what it is given.
        return tuple(y.to(y_c.dtype, copy=True) for y, y_c in zip(rebuilt, history[0].outputs, strict=True))

    def _predict(self, fit: Fit, timestep: float, inputs: Tensors, history: Sequence[Kept]) -> Tensors:
        last = history[0]
        held = tuple(y_c.float() for y_c in last.outputs)
        if not fit.used:
            return held
        a, b = fit.coefficients
        weight, older = trend(timestep, history)
        return tuple(
            y_c + a * (x.float() - x_c.float()) + (b * weight) * (y_c - y_p.float())
            for x, x_c, y_c, y_p in zip(inputs, last.inputs, held, older.outputs, strict=True)
        )

    @torch.no_grad()
    def study(
        self, branch: int, timestep: float, inputs: Tensors, outputs: Tensors, history: Sequence[Kept]
    ) -> Lesson | None:
        """Measure what would have been predicted for a computed call, and settle what is owed.

        Returns:
            What to `learn` from, once it is read; None where there is nothing to compare with.
        """
        if not history or not same_layout(inputs, history[0].inputs):
            self._accounts.pop(branch, None)
            return None
        last, account = history[0], self._accounts.get(branch)
        if account is not None:
            account.settle(timestep, outputs, last)
        weight, older = trend(timestep, history)
        before = history[1] if len(history) > 1 else last
        sums: list[torch.Tensor] = []
        for position, (x, y, y_c) in enumerate(zip(inputs, outputs, last.outputs, strict=True)):
            move = x.float() - last.inputs[position].float()
            slope = weight * (y_c.float() - older.outputs[position].float())
            change = y.float() - y_c.float()
            earlier = y_c.float() - before.outputs[position].float()
            found = [
                (u * v).sum()
                for u, v in (
                    (move, move), (move, slope), (slope, slope), (move, change), (slope, change),
                    (change, change), (earlier, earlier), (earlier, change),
                )
            ]  # fmt: skip
            sums = found if not sums else [u + v for u, v in zip(sums, found, strict=True)]
        span = timestep - before.timestep
        known = len(history) > 1 and span != 0
        return Lesson(branch, sums, (last.timestep - before.timestep) / span if known else None)

    def learn(self, lesson: Lesson, numbers: Sequence[float]) -> None:
        """Absorb a lesson, whose `numbers` have been read."""
        calibration = self._calibrations.setdefault(lesson.branch, TrendFilter())
        calibration.observe(products_of(numbers, lesson.place))


def trend(timestep: float, history: Sequence[Kept]) -> tuple[float, Kept]:
    """w and the step p it is for; w is 0, and p the newest step itself, where there is no older one."""
    last = history[0]
    weight, chosen = 0.0, last
    for older in history[1:]:
        gap = last.timestep - older.timestep
        if gap == 0:
            continue
        weight, chosen = (timestep - last.timestep) / gap, older
        if abs(weight) * SPAN <= 1 + SLACK:
            break
    return max(-1.0, min(1.0, weight)), chosen
