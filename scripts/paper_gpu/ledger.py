"""Counts the bytes of every tensor on the GPU on paper, from its making to its end."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod

import torch


@dataclass(frozen=True)
class Peak:
    """The moment of a stage at which most bytes were alive.

    Attributes:
        total: all of them.
        weights: those of weights, by part.
        cache: those that a cache kept.
    """

    total: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    cache: int = 0

    def activations(self, parts: Iterable[str]) -> int:
        """What is neither weights of these parts nor cache."""
        return self.total - sum(self.weights[part] for part in parts) - self.cache


class Ledger:
    """Bytes alive, and the most there were, by stage.

    It counts what tensors hold. The CUDA context, the kernels' workspaces and fragmentation come on top.

    Attributes:
        cache_bytes: says what a cache keeps now, to be told apart in the peaks.
        stage: of the generation; peaks are noted by it.
        live: bytes alive now.
        matrix: of the tensors made since the stage began, the most elements in the two longest dimensions.
        peaks: by stage.
        moments: the same by stage and the parts that have weights on the GPU: a stage in which one of them
            leaves, and something else comes, is fullest before or after, as the sizes are.
        high: the most bytes alive since somebody set it to `live`.
        moving: the part whose weights are being moved to the GPU now, or "".
    """

    def __init__(self) -> None:
        self.cache_bytes: Callable[[], int] = lambda: 0
        self.live = self.matrix = self.high = 0
        self.moving = ""
        self.moments: dict[tuple[str, frozenset[str]], Peak] = {}
        self.stage = "load"
        self._weights: Counter[str] = Counter()
        self._part_of: dict[int, str] = {}
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @property
    def peaks(self) -> dict[str, Peak]:
        found: dict[str, Peak] = {}
        for (stage, _), peak in self.moments.items():
            found[stage] = max(found.get(stage, Peak()), peak, key=lambda one: one.total)
        return found

    def begin(self, stage: str) -> None:
        """From here on peaks belong to `stage`."""
        self.stage, self.matrix = stage, 0
        self._note()

    def name_weights(self, part: str, tensors: Iterable[torch.Tensor]) -> None:
        """Say that these tensors, where they are on the GPU, are weights of a part."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._known:
                if key in self._part_of:
                    self._weights[self._part_of[key]] -= size
                self._part_of[key] = part
                self._weights[part] += size

    def made(self, tensor: torch.Tensor) -> None:
        """A tensor on the GPU is there: count what it holds, unless that is counted already."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, partial(self._freed, key, size))
        if self.moving:
            self._part_of[key] = self.moving
            self._weights[self.moving] += size
        self.live += size
        self.matrix = max(self.matrix, prod(sorted(tensor.shape)[-2:]))
        self._note()

    def _freed(self, key: int, size: int, _: object) -> None:
        del self._known[key]
        self.live -= size
        if key in self._part_of:
            self._weights[self._part_of.pop(key)] -= size

    def _note(self) -> None:
        self.high = max(self.high, self.live)
        key = self.stage, frozenset(part for part, size in self._weights.items() if size)
        if key not in self.moments or self.live > self.moments[key].total:
            weights = {part: size for part, size in self._weights.items() if size}
            self.moments[key] = Peak(self.live, weights, self.cache_bytes())
