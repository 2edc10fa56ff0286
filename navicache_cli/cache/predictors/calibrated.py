"""A predictor that learns, at every computed step, how best to rebuild a skipped one from what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from navicache_cli.cache.predictors.error_feedback import Account
from navicache_cli.cache.predictors.predictor import Keep, Kept
from navicache_cli.cache.predictors.trend import Fit, Products, TrendFilter
from navicache_cli.cache.tensors import Tensors, sum_all


@dataclass(frozen=True)
class Lesson:
    """What was measured at a computed call, not read from its device yet.

    Attributes:
        branch: which.
        numbers: <s, s>, <s, t>, <t, t>, 0-dim tensors; these and the others see `calibration.Products`.
        weight: w.
        place: v.
    """

    branch: int
    numbers: list[torch.Tensor]
    weight: float
    place: float


class Calibrated:
    """y_i ≈ y_c + a w (y_c − y_p) + payment, with a learnt; y_c + payment where that has been no good.

    c is the last computed step, p the one computed before it, w = (i − c) / (c − p). Each branch learns for
    itself (`calibration.TrendFilter`) from what it would have predicted at the steps it computed.

    The payment is a part of what earlier predictions are known to have missed (`settlement.Account`);
    there is none where interpolating between computed outputs has been no good.

    Kept are x_c, y_c, y_p, the debt, and during a run of skips what is booked of it: three to five tensors
    of x's size a branch.
    """

    name = "calibrated"
    keeps = Keep.BOTH  # x_c is measured against
    depth = 1  # outputs kept besides y_c

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
        self, branch: int, step: int, timestep: float, gap: float, history: Sequence[Kept]
    ) -> Tensors:
        """The output of a skipped step.

        Args:
            branch: which.
            step: i.
            timestep: t_i.
            gap: t_i − t_{i−1}.
            history: what was kept of computed calls, the newest first.
        """
        fit, account = self.fit(branch), self._accounts.setdefault(branch, Account())
        if not fit.settles:
            account.write_off()
        payment = account.payment(gap)
        rebuilt = _predict(fit, step, history)
        account.book(timestep, gap, rebuilt)
        if payment:
            rebuilt = tuple(y + part for y, part in zip(rebuilt, payment, strict=True))
        # Copies even where nothing was added: a sampler may write into what it is given.
        return tuple(y.to(y_c.dtype, copy=True) for y, y_c in zip(rebuilt, history[0].outputs, strict=True))

    @torch.no_grad()
    def study(
        self, branch: int, step: int, timestep: float, outputs: Tensors, history: Sequence[Kept]
    ) -> Lesson | None:
        """Measure what would have been predicted for a computed call, and settle what is owed.

        Returns:
            What to `learn` from, once it is read; None where there is nothing to compare with.
        """
        if not history:
            self._accounts.pop(branch, None)
            return None
        if (account := self._accounts.get(branch)) is not None:
            account.settle(timestep, outputs, history[0])
        if len(history) < 2 or timestep == history[1].timestep:
            return None
        last, older = history[:2]
        sums: list[torch.Tensor] = []
        for y, y_c, y_p in zip(outputs, last.outputs, older.outputs, strict=True):
            before, change = y_c.float() - y_p.float(), y.float() - y_c.float()
            found = [sum_all(u * v) for u, v in ((before, before), (before, change), (change, change))]
            sums = found if not sums else [u + v for u, v in zip(sums, found, strict=True)]
        place = (last.timestep - older.timestep) / (timestep - older.timestep)
        return Lesson(branch, sums, _weight(step, history), place)

    def learn(self, lesson: Lesson, numbers: Sequence[float]) -> None:
        """Absorb a lesson, whose `numbers` have been read."""
        calibration = self._calibrations.setdefault(lesson.branch, TrendFilter())
        before, across, change = numbers
        calibration.observe(Products(before, across, change, lesson.weight, lesson.place))


def _predict(fit: Fit, step: int, history: Sequence[Kept]) -> Tensors:
    """What the output is expected to be, float32, before anything is paid."""
    held = tuple(y_c.float() for y_c in history[0].outputs)
    if not fit.used or len(history) < 2:
        return held
    slope = fit.trend * _weight(step, history)
    return tuple(y_c + slope * (y_c - y_p.float()) for y_c, y_p in zip(held, history[1].outputs, strict=True))


def _weight(step: int, history: Sequence[Kept]) -> float:
    """w = (i − c) / (c − p)."""
    last, older = history[0].step, history[1].step
    return (step - last) / (last - older)
