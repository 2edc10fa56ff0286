"""The one read of the device per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from navicache_cli.cache.tensors import Agree, read_numbers

Then = Callable[[dict[str, float]], None]


class DeviceRead:
    """Collects numbers, 0-dim tensors, that are still on the device, and reads them all at once.

    Reading waits until the device has done all that was asked of it, so it happens once per step.

    Args:
        agree: makes the numbers what they are on the first of several processes; None for one process.
    """

    def __init__(self, agree: Agree | None = None) -> None:
        self._agree = agree
        self.clear()

    def clear(self) -> None:
        """Forget all that was to be read."""
        self._waiting: list[tuple[Mapping[str, torch.Tensor], Then]] = []

    def later(self, numbers: Mapping[str, torch.Tensor], then: Then) -> None:
        """Read `numbers` with the next `now`, and hand their values to `then`."""
        if numbers:
            self._waiting.append((numbers, then))

    def now(self, numbers: Mapping[str, torch.Tensor] | None = None) -> dict[str, float]:
        """Wait for the device; hand on what was to be read `later`, in that order, and return `numbers`."""
        found: dict[str, float] = {}
        groups, self._waiting = [*self._waiting, (numbers or {}, found.update)], []
        values = iter(read_numbers([number for group, _ in groups for number in group.values()], self._agree))
        for group, then in groups:
            then({name: next(values) for name in group})
        return found
