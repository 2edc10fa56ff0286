"""The two branches of classifier-free guidance within a step: what is learned of their combination."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from navicache_cli.cache.predictors.line import Place, change, place_of, products
from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.predictors.trend import Fit, Products, TrendFilter
from navicache_cli.cache.session.memory import Branch
from navicache_cli.cache.tensors import Tensors, mean_abs, same_layout

# Up to this scale of guidance, branches that go by what they learn themselves were better on `tiny`: by up to
# 4 dB at 4. At 6 and above they were worse; nothing between the two was measured.
_WEAK = 4.0
# What the names of a branch hold that follows no prompt, or the negative one.
_UNCONDITIONAL = ("uncond", "neg")
Names = tuple[Hashable, ...]  # told of a branch, the outermost first; empty where the order of calls names it


def is_unconditional(names: Names) -> bool:
    """Whether the names of a branch say that it follows no prompt, or the negative one."""
    text = " ".join(map(str, names)).lower()
    return any(word in text for word in _UNCONDITIONAL)


@dataclass
class PairMeasures:
    """What a computed call tells of the pair: 0-dim tensors on the device, by name.

    Attributes:
        products: of the combination, for `GuidedPair.learn`; with the second branch alone.
        misses: of the first branch's prediction, then of the combination's, for `Policy.missed`.
    """

    products: Mapping[str, torch.Tensor] = field(default_factory=dict)
    misses: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class _Line:
    """The last two changes of a branch's output, float32, and how much of the first the second was to be.

    Attributes:
        before: y_c − y_p; empty where p was not kept.
        after: y_i − y_c.
        slope: a w, 0 where y_c was to be held.
    """

    before: Tensors
    after: Tensors
    slope: float

    def missed(self) -> Tensors:
        """What was missed of y_i."""
        if not (self.slope and self.before):
            return self.after
        pairs = zip(self.before, self.after, strict=True)
        return tuple(torch.add(t, s, alpha=-self.slope) for s, t in pairs)


class GuidedPair:
    """The branches with and without the prompt, c and u, which guidance combines: u + g (c − u).

    Guidance multiplies the difference of the two, with all its errors, so what counts is what the combination
    misses. Each branch moves on its own straight line. How much of it to follow, and whether its errors can
    be told afterwards, is learned of the combination, for both alike, unless guidance is weak.

    Attributes:
        scale: g; None where nobody knows it, or it is 1: each branch then goes by what it learns itself.
        tensors: all that is held until the step's second branch is over.
    """

    def __init__(self) -> None:
        self.scale: float | None = None
        self.forget()

    def forget(self) -> None:
        """Forget what was learned."""
        self._trend = TrendFilter()
        self._place = Place(0.0, 0.0)
        self._known = False
        self.start()

    def start(self) -> None:
        """A step starts, or nothing is to be held."""
        self._lead: Branch | None = None
        self._names: Names = ()
        self._fit: Fit | None = None  # known where the step began
        self._first: _Line | None = None  # of the first branch
        self._seen = 0

    @property
    def tensors(self) -> list[Tensors]:
        return [self._first.before, self._first.after] if self._first else []

    @property
    def learned(self) -> Fit | None:
        """What is known of the combination; None where guidance is weak, or the last step had one branch."""
        return self._trend.fit if self._known and self.scale is not None and self.scale > _WEAK else None

    def fit(self, branch: Branch, names: Names) -> Fit | None:
        """What to predict a call by: `learned`, or None where its branch goes by what it learns itself.

        Called once for each call of a step, in their order.
        """
        self._seen += 1
        if self._seen == 1:
            self._lead, self._names, self._fit = branch, names, self.learned
        return self._fit if self._seen == 1 or self._is_second(branch, names) else None

    @torch.no_grad()
    def measure(self, call: Kept, branch: Branch, names: Names, misses: bool) -> PairMeasures:
        """Measure a computed call before its branch keeps it; `misses`: what predictions miss as well."""
        fit = self.fit(branch, names)
        leads, second = self._seen == 1, self._is_second(branch, names)
        if leads:
            self._known = False  # until the second branch, which may be missing from now on, is measured too
        if not (leads or second) or not branch.is_like(call.outputs):
            return PairMeasures()
        if self.scale is None and not misses:
            return PairMeasures()
        history = branch.history
        before = change(*history[:2]) if len(history) > 1 and branch.is_like(history[1].outputs) else ()
        slope = branch.predictor.slope(call.step, history, fit)
        line = _Line(before, change(call, history[0]), slope)
        if second:
            return self._measure_both(call, history, line, misses)
        if self.scale is not None:
            self._first = line
        return PairMeasures(misses={"miss": mean_abs(line.missed())} if misses else {})

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the inner products of the calls measured last."""
        self._trend.observe(Products(**numbers, weight=self._place.weight, place=self._place.between))
        self._known = True

    def _measure_both(self, call: Kept, history: Sequence[Kept], second: _Line, misses: bool) -> PairMeasures:
        """The combination's; `call` and `history` are the second branch's."""
        first, self._first = self._first, None
        if first is None or self._lead is None:
            return PairMeasures()
        found = PairMeasures()
        after = self._guided(first.after, second.after)
        if first.before and second.before and call.timestep != history[1].timestep:
            self._place = place_of(call, history)
            found.products = products(self._guided(first.before, second.before), after)
        if misses:
            missed = self._guided(first.missed(), second.missed())
            norm = mean_abs(self._guided(self._lead.history[0].outputs, call.outputs))
            found.misses = {"miss": mean_abs(missed), "change": mean_abs(after), "norm": norm}
        return found

    def _is_second(self, branch: Branch, names: Names) -> bool:
        """Whether a branch is the second of a pair: called next, alike, and computed when the first was."""
        lead = self._lead
        if self.scale is None or lead is None or self._seen != 2 or not (lead.history and branch.history):
            return False
        first, second = lead.history[0], branch.history[0]
        return (
            names[:-1] == self._names[:-1]
            and same_layout(first.outputs, second.outputs)
            and first.step >= second.step
        )

    def _guided(self, first: Tensors, second: Tensors) -> Tensors:
        """u + g (c − u), float32; the first branch has the prompt unless its name says otherwise."""
        assert self.scale is not None
        if is_unconditional(self._names):
            first, second = second, first
        return tuple(torch.lerp(u.float(), c.float(), self.scale) for c, u in zip(first, second, strict=True))
