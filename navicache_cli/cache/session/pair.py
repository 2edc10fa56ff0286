"""The two branches of classifier-free guidance within a step: what is learned of their combination."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

import torch

from navicache_cli.cache.predictors.line import LineFilter, change
from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.predictors.trend import Fit
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
    """A computed call of a branch after the two before it, and how much of their change its own was to be.

    Attributes:
        call: y_i.
        held: y_c.
        older: y_p; None where it was not kept.
        slope: a w, 0 where y_c was to be held.
    """

    call: Kept
    held: Kept
    older: Kept | None
    slope: float

    def before(self) -> Tensors:
        """y_c − y_p, float32; empty where y_p was not kept."""
        return change(self.held, self.older) if self.older else ()

    def after(self) -> Tensors:
        """y_i − y_c, float32."""
        return change(self.call, self.held)

    def missed(self) -> Tensors:
        """What was missed of y_i, float32."""
        after = self.after()
        if self.slope and self.older:
            for t, s in zip(after, self.before(), strict=True):
                t.add_(s, alpha=-self.slope)
        return after


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
        self._line = LineFilter()
        self._known = False
        self._two = False  # whether any step has called a second branch
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
        # The branch itself keeps the other two.
        return [self._first.older.outputs] if self._first and self._first.older else []

    @property
    def learned(self) -> Fit | None:
        """What is known of the combination; None where guidance is weak, or the last step had one branch."""
        return self._line.fit if self._known and self._learns else None

    @property
    def _learns(self) -> bool:
        """Whether guidance is strong enough for the combination to say how far lines are followed."""
        return self.scale is not None and self.scale > _WEAK

    def fit(self, branch: Branch, names: Names) -> Fit | None:
        """What to predict a call by: `learned`, or None where its branch goes by what it learns itself.

        Called once for each call of a step, in their order.
        """
        self._seen += 1
        if self._seen == 1:
            self._lead, self._names, self._fit = branch, names, self.learned
        self._two = self._two or (self.scale is not None and self._seen == 2)
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
        if not (misses or self._learns):
            return PairMeasures()
        history = branch.history
        older = history[1] if len(history) > 1 and branch.is_like(history[1].outputs) else None
        held = replace(history[0], inputs=())  # as the branch keeps it from now on
        line = _Line(call, held, older, branch.predictor.slope(call.step, history, fit))
        if second:
            return self._measure_both(line, misses)
        if self._two:
            self._first = line
        return PairMeasures(misses={"miss": mean_abs(line.missed())} if misses else {})

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the inner products of the calls measured last."""
        self._line.learn(numbers)
        self._known = True

    def _measure_both(self, second: _Line, misses: bool) -> PairMeasures:
        """The combination's."""
        first, self._first = self._first, None
        if first is None:
            return PairMeasures()
        found = PairMeasures()
        after = self._guided(first.after(), second.after())
        older = second.older
        if self._learns and first.older and older and second.call.timestep != older.timestep:
            before = self._guided(first.before(), second.before())
            found.products = self._line.measure(second.call, (second.held, older), before, after)
        if misses:
            missed = self._guided(first.missed(), second.missed())
            norm = mean_abs(self._guided(first.call.outputs, second.call.outputs))
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
