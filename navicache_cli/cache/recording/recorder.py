"""Measures every step of a generation against all earlier ones, for `trajectory.replay`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import torch

from navicache_cli.cache.recording.trajectory import Trajectory
from navicache_cli.cache.tensors import (
    Tensors,
    mean_abs,
    mean_abs_difference,
    read_numbers,
    same_layout,
    size_in_bytes,
    snapshot,
)
from navicache_cli.errors import SiteError


@dataclass(frozen=True)
class Place:
    """Where in a generation a call is.

    Attributes:
        step: i.
        timestep: t_i.
        names: of its branch, the outermost first; empty where its place in the order of calls names it.
        model: which of several is called.
        leads: whether it is the first of its step.
    """

    step: int
    timestep: float
    names: tuple[Hashable, ...]
    model: str
    leads: bool


class Records(Protocol):
    """What a session tells of a generation whose steps are all computed.

    Attributes:
        every_branch: it is told of all calls; otherwise of the first of each step.
    """

    every_branch: bool

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors kept now."""

    def begin(self) -> None:
        """A new generation starts: forget everything."""

    def clear(self) -> None:
        """Drop all tensors, and what was measured of a generation that is not over."""

    def enter(self, inputs: Tensors, place: Place) -> None:
        """The forward is about to run on x_i, which it may write into."""

    def leave(self, outputs: Tensors) -> None:
        """The forward has returned y_i."""

    def finish(self) -> None:
        """The generation is over: read the numbers, waiting for the device, and drop the tensors."""


class Recorder:
    """Keeps x and y of the first branch of every step until the generation is over.

    Step i costs i differences of inputs and as many of outputs; the numbers stay on their device and
    are read once, at the end. Memory is N copies of x and of y, and it is meant for measurements:
    a session without a recorder does none of this.

    Attributes:
        trajectory: what was recorded; None until the generation is over.
    """

    every_branch = False

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new generation starts: forget everything."""
        self.trajectory: Trajectory | None = None
        self.clear()

    def clear(self) -> None:
        """Drop all tensors, and what was measured of a generation that is not over."""
        self._inputs: list[Tensors] = []
        self._outputs: list[Tensors] = []
        self._input_spans: list[list[torch.Tensor]] = []
        self._output_spans: list[list[torch.Tensor]] = []
        self._output_norms: list[torch.Tensor] = []

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors kept now."""
        return size_in_bytes([*self._inputs, *self._outputs])

    def enter(self, inputs: Tensors, place: Place) -> None:
        """The forward is about to run on x_i, which it may write into.

        Raises:
            SiteError: their shapes are not those of the step before.
        """
        if self._inputs and not same_layout(inputs, self._inputs[-1]):
            raise SiteError(
                "expected inputs of one shape at all steps, to measure each step against the others; "
                "found another shape",
                hint="record no trajectory",
            )
        self._input_spans.append([mean_abs_difference(inputs, earlier) for earlier in self._inputs])
        self._inputs.append(snapshot(inputs))

    def leave(self, outputs: Tensors) -> None:
        """The forward has returned y_i."""
        self._output_spans.append([mean_abs_difference(outputs, earlier) for earlier in self._outputs])
        self._output_norms.append(mean_abs(outputs))
        self._outputs.append(snapshot(outputs))

    def finish(self) -> None:
        """The generation is over: read the numbers, waiting for the device, and drop the tensors."""
        if not self._output_norms:
            return
        self.trajectory = Trajectory(
            tuple(tuple(read_numbers(row)) for row in self._input_spans),
            tuple(tuple(read_numbers(row)) for row in self._output_spans),
            tuple(read_numbers(self._output_norms)),
        )
        self.clear()
