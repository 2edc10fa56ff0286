"""Outputs of parts of a model, such as an attention, that later steps use again."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from navicache_cli.cache.tensors import Tensors, same_layout


class PartStore:
    """The last output of each part on each branch of the guidance.

    Attributes:
        calls: how often a part ran in this generation.
        calls_saved: how often its kept output was used instead.
    """

    def __init__(self) -> None:
        self._outputs: dict[tuple[int, Hashable], torch.Tensor] = {}
        self.calls = 0
        self.calls_saved = 0

    def recall(self, part: int, branch: Hashable, like: torch.Tensor) -> torch.Tensor | None:
        """The kept output, counted as used; None if there is none of the shape of `like`."""
        output = self._outputs.get((part, branch))
        if output is None or not same_layout((output,), (like,)):
            return None
        self.calls_saved += 1
        return output

    def drop(self, part: int, branch: Hashable) -> None:
        """Drop what is kept of a part that is about to run."""
        self._outputs.pop((part, branch), None)

    def ran(self, part: int, branch: Hashable, output: torch.Tensor, *, keep: bool) -> None:
        """The part ran; `keep` its output."""
        self.calls += 1
        self.drop(part, branch)
        if keep:
            self._outputs[part, branch] = output.detach()

    @property
    def tensors(self) -> Tensors:
        """All tensors kept."""
        return tuple(self._outputs.values())

    def clear(self) -> None:
        """Drop all tensors; the counts stay."""
        self._outputs.clear()
