"""The signal a policy decides by, measured on tensors: against which earlier ones, and when they are kept."""

from __future__ import annotations

from collections.abc import Callable

import torch

from navicache_cli.cache.policies.policy import Policy, Signal
from navicache_cli.cache.tensors import Tensors, mean_abs, mean_abs_difference, same_layout, snapshot
from navicache_cli.errors import SiteError

# Gives the tensors whose change a policy's signal is; called only when that is about to be measured.
SignalSource = Callable[[], Tensors]


class SignalWatch:
    """Measures the signal of one policy.

    Args:
        policy: whose signal.

    Attributes:
        previous: what the signal is compared with: x_{i−1}, m_{i−1} or r_c of the first branch. x_{i−1} is
            set by the session, as it may be a copy kept anyway.
    """

    def __init__(self, policy: Policy) -> None:
        self.kind = policy.signal
        self._name = policy.name
        self._of_tensors = policy.caches and self.kind not in (Signal.TIMESTEP, Signal.NONE)
        self.previous: Tensors = ()

    @property
    def follows_inputs(self) -> bool:
        """Whether `previous` is the last step's input."""
        return self._of_tensors and self.kind is Signal.INPUT

    def current(self, inputs: Tensors, source: SignalSource | None) -> Tensors:
        """What the signal is the change of; empty where it is not that of a tensor.

        Raises:
            SiteError: it is not the inputs', and there is no source.
        """
        if not self._of_tensors:
            return ()
        if self.kind is Signal.INPUT:
            return inputs
        if source is None:
            raise SiteError(
                f"expected a site that gives what {self._name} decides by ({self.kind.value}), "
                "found one that does not",
                hint="make a StackSite with a modulation, or with head=1 for the first block",
            )
        return source()

    def change(self, current: Tensors) -> dict[str, torch.Tensor]:
        """The number `signal`, still on the device; nothing where there is nothing to compare with."""
        if not current or not same_layout(current, self.previous):
            return {}
        change = mean_abs_difference(current, self.previous)
        return {"signal": change if self.kind is Signal.INPUT else change / mean_abs(self.previous)}

    def remember(self, current: Tensors, *, computed: bool) -> None:
        """The step is decided: keep what later ones are compared with, unless that is the input."""
        if self._of_tensors and not self.follows_inputs and (computed or self.kind is Signal.MODULATION):
            self.previous = snapshot(current)
