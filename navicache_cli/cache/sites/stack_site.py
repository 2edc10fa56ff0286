"""The site over a stack of blocks: a session meets the hidden states that enter and leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import torch
from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.session.signals import SignalSource
from navicache_cli.cache.sites.arguments import Argument, as_tensors, find_argument, has_argument
from navicache_cli.cache.sites.binding import Around, Before
from navicache_cli.cache.sites.site import SKIPPED, Bindings, CachedModules
from navicache_cli.cache.tensors import Tensors, snapshot
from navicache_cli.errors import SiteError

# Gives what modulates the first block, from that block and the arguments it is called with.
Modulation = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], torch.Tensor]


def argument(name: str, position: int) -> Modulation:
    """The modulation that a block takes as its argument `name`, or at `position`."""
    return lambda block, args, kwargs: kwargs[name] if name in kwargs else args[position]


class StackSite:
    """A stack of blocks inside a model: hidden states in and out; embedders and final layer always run.

    On a skipped step the first block of the region returns the prediction and the others return their input;
    none of them runs. Blocks called outside the model's forward are left alone.

    Args:
        model: the model; its calls are bound only to learn the timestep.
        blocks: the blocks in the order they run, each once per forward.
        timestep: name of the parameter of the model's forward that tells the step.
        hidden: name or position of the hidden states among each block's parameters.
        beside: name of a parameter with a second stream of hidden states. A block that has it returns both as
            a pair; one that has not takes the second appended to the first along dimension 1. Only the first
            leaves the region.
        modulation: gives the modulated embedding, for methods that decide by it.
        head: how many first blocks always run, before the region; what they add is given to methods that
            decide by the first block.

    Raises:
        SiteError: there are no blocks, or one appears twice.
    """

    sees_latents = False

    def __init__(
        self,
        model: nn.Module,
        blocks: Iterable[nn.Module],
        timestep: str = "timestep",
        hidden: str | int = 0,
        beside: str | None = None,
        modulation: Modulation | None = None,
        head: int = 0,
    ) -> None:
        self.model = model
        self.blocks = list(blocks)
        self.timestep = timestep
        self.hidden = hidden
        self.beside = beside
        self.modulation = modulation
        self.head = head
        if len(self.blocks) <= head or len(set(self.blocks)) < len(self.blocks):
            raise SiteError(
                f"expected a list of different blocks, more than {head}, found {len(self.blocks)}, "
                f"of which {len(set(self.blocks))} differ",
                hint="list each block once, in the order the model runs them",
            )

    def bindings(self, session: Session, name: str = "") -> Bindings:
        """See `Site.bindings`.

        Raises:
            SiteError: the model's or a block's forward lacks its parameter.
        """
        stack = _Stack(self, session, name, find_argument(self.model, self.timestep))
        bound: Bindings = [(self.model, stack)]
        for position, block in enumerate(self.blocks):
            streams = [find_argument(block, self.hidden)]
            if self.beside is not None and has_argument(block, self.beside):
                streams.append(find_argument(block, self.beside))
            bound.append((block, _Block(stack, block, streams, position)))
        return bound

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`: the blocks after the head."""
        return self.model, {SKIPPED: self.blocks[self.head :]}


class _Phase(Enum):
    """How far the model's forward has come in its stack."""

    OUTSIDE = "the model's forward is not running"
    BEFORE = "the first block has not been reached"
    COMPUTING = "the blocks run"
    SKIPPING = "the blocks pass their input on"
    AFTER = "the last block has run"


class _Stack(Around):
    """Around the calls of the model: tells the timestep to the blocks."""

    def __init__(self, site: StackSite, session: Session, name: str, timestep: Argument) -> None:
        self.site = site
        self.session = session
        self._name = name
        self._argument = timestep
        self._reset(_Phase.OUTSIDE)

    def _reset(self, phase: _Phase, timestep: Any = None) -> None:
        self.phase = phase
        self._timestep = timestep
        # Hidden states before and after the head, until the region has been entered.
        self._around_head: list[torch.Tensor] = []
        # Tokens of the hidden states that entered the region.
        self._length = 0

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `Around`."""
        self._reset(_Phase.BEFORE, self._argument.value(args, kwargs))
        return Before(False)

    def after(self, before: None, output: Any) -> None:
        """See `Around`."""
        computing = self.phase is _Phase.COMPUTING
        self._reset(_Phase.OUTSIDE)
        if computing:
            raise _not_in_order("the last block of the stack did not run")

    def failed(self) -> None:
        """See `Around`."""
        self._reset(_Phase.OUTSIDE)

    def enter_head(self, position: int, inputs: Tensors) -> None:
        """A block of the head is called with these hidden states."""
        if self.phase is not _Phase.BEFORE or (position == 0) != (not self._around_head):
            raise _not_in_order("the first block of the stack ran again in the same forward")
        if position == 0:
            self._around_head = list(snapshot(inputs))

    def leave_head(self, output: Any) -> None:
        """The last block of the head has run."""
        self._around_head.append(output[0] if isinstance(output, tuple) else output)

    def enter(
        self, block: nn.Module, inputs: Tensors, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensors | None:
        """The first block of the region is called: what leaves the region if it is skipped, else None."""
        if self.phase is not _Phase.BEFORE:
            raise _not_in_order("the first block of the stack ran again in the same forward")
        self._length = inputs[0].shape[1] if self.site.beside is not None else 0
        source = self._source(block, args, kwargs)
        predicted = self.session.enter(self._timestep, inputs, source, model=self._name)
        self._around_head = []
        self.phase = _Phase.COMPUTING if predicted is None else _Phase.SKIPPING
        return predicted

    def leave(self, outputs: Tensors) -> None:
        """The last block has run."""
        self.session.leave(outputs if self.site.beside is None else self._first_stream(outputs))
        self.phase = _Phase.AFTER

    def _source(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SignalSource | None:
        """What a policy's signal is the change of, if this site has it."""
        modulation = self.site.modulation
        if self.site.head:
            before, after = self._around_head
            return lambda: (after - before,)
        return None if modulation is None else lambda: (modulation(block, args, kwargs),)

    def _first_stream(self, outputs: Tensors) -> Tensors:
        """The hidden states alone, without a second stream returned beside or appended."""
        return (outputs[0][:, : self._length],)


class _Block(Around):
    """Around the calls of a block.

    Args:
        stack: that it is in.
        block: the module.
        streams: its hidden states, and a second stream if it takes one.
        position: in the stack, from 0.
    """

    def __init__(self, stack: _Stack, block: nn.Module, streams: list[Argument], position: int) -> None:
        self._stack = stack
        self._block = block
        self._streams = streams
        self._position = position
        self._head = stack.site.head
        self._is_last = position == len(stack.site.blocks) - 1

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `Around`."""
        if self._stack.phase is _Phase.OUTSIDE:
            return Before(False)
        if self._stack.phase is _Phase.SKIPPING and self._position > self._head:
            passed = tuple(stream.value(args, kwargs) for stream in self._streams)
            return Before(True, passed if len(passed) > 1 else passed[0])
        if self._position > self._head:
            return Before(False)
        hidden, *beside = self._streams
        inputs = as_tensors(hidden.value(args, kwargs), hidden)
        if self._position < self._head:
            self._stack.enter_head(self._position, inputs)
            return Before(False)
        predicted = self._stack.enter(self._block, inputs, args, kwargs)
        if predicted is None:
            return Before(False)
        second = [stream.value(args, kwargs) for stream in beside]
        return Before(True, (predicted[0], *second) if second else predicted[0])

    def after(self, before: None, output: Any) -> None:
        """See `Around`."""
        if self._position == self._head - 1 and self._stack.phase is _Phase.BEFORE:
            self._stack.leave_head(output)
        if self._is_last and self._stack.phase is _Phase.COMPUTING:
            self._stack.leave(as_tensors(output, self._streams[0]))


def _not_in_order(found: str) -> SiteError:
    return SiteError(
        f"expected each forward to run every block once, in the order listed; found that {found}",
        hint="list the blocks in the order the model runs them",
    )
