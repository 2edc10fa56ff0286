"""How the output of a skipped step is rebuilt from what was kept at computed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch

from navicache_cli.cache.predictors.trend import Fit
from navicache_cli.cache.tensors import Tensors


class Keep(Enum):
    """What a predictor needs of a computed call."""

    BOTH = "x_c and y_c"
    RESIDUAL = "y_c − x_c, in the place of y_c"
    OUTPUTS = "y of the last computed calls"


@dataclass
class Kept:
    """One computed call of a branch.

    Attributes:
        step: c.
        inputs: x_c, or empty where it is not needed.
        outputs: y_c, or its residual under `Keep.RESIDUAL`: of the shape of x_c in any case.
        timestep: t_c, in the model's own units.
    """

    step: int
    inputs: Tensors
    outputs: Tensors
    timestep: float = 0.0


@dataclass
class Skipped:
    """A call whose output is to be predicted.

    Attributes:
        step: i.
        inputs: x_i.
        timestep: t_i.
        gap: t_i − t_{i−1}.
        fit: of the pair of branches that the call is of, to be used in the place of its own; None: its own.
    """

    step: int
    inputs: Tensors
    timestep: float
    gap: float
    fit: Fit | None = None


class Predictor(Protocol):
    """Rebuilds the outputs that one branch of a generation skips. Each branch has one of its own.

    `history` is what was kept of the branch's computed calls, the newest first.

    Attributes:
        name: by which users choose it.
        keeps: what it needs of a computed call.
    """

    name: str
    keeps: Keep

    @property
    def depth(self) -> int:
        """How many computed calls it looks back to."""

    @property
    def observes(self) -> bool:
        """Whether `observe` needs the history; if not, most of that is freed before the model runs."""

    @property
    def fit(self) -> Fit | None:
        """What it has learned; None if it never learns."""

    @property
    def tensors(self) -> Sequence[Tensors]:
        """What it keeps besides the history."""

    def slope(self, step: int, history: Sequence[Kept], fit: Fit | None = None) -> float:
        """How many times y_c − y_p it expects a step from y_c, by this fit or its own; 0: it holds y_c."""

    def predict(self, call: Skipped, history: Sequence[Kept]) -> Tensors:
        """The output of `call`: new tensors, shaped and typed like y_c."""

    def observe(self, call: Kept, history: Sequence[Kept]) -> Mapping[str, torch.Tensor]:
        """Compare a computed call with the calls before it; return the numbers, 0-dim, to `learn` from."""

    def learn(self, numbers: Mapping[str, float]) -> None:
        """Absorb the values of what `observe` returned last; not called where that was empty."""

    def drop(self) -> None:
        """Drop all tensors: nothing more will be predicted. What was learned stays."""


# Makes the predictor of a branch: a class, or what `factory.maker_of` returns.
MakePredictor = Callable[[], Predictor]


class Unlearning:
    """What predictors share that learn nothing and, by default, look at the last computed call alone."""

    depth = 1
    observes = False
    fit: Fit | None = None
    tensors: Sequence[Tensors] = ()

    def slope(self, step: int, history: Sequence[Kept], fit: Fit | None = None) -> float:
        return 0.0

    def observe(self, call: Kept, history: Sequence[Kept]) -> Mapping[str, torch.Tensor]:
        return {}

    def learn(self, numbers: Mapping[str, float]) -> None:
        pass

    def drop(self) -> None:
        pass
