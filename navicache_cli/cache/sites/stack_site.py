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
from navicache_cli.cache.sites.site import SKIPPED, Forward
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
        model: the model; its forward is bound only to learn the timestep.
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

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """See `Site.bindings`.

        Raises:
            SiteError: the model's or a block's forward lacks its parameter.
        """
        stack = _Stack(self, session)
        timestep = find_argument(self.model, self.timestep)
        bound = [(self.model, stack.outer(self.model.forward, timestep))]
        for position, block in enumerate(self.blocks):
            streams = [find_argument(block, self.hidden)]
            if self.beside is not None and has_argument(block, self.beside):
                streams.append(find_argument(block, self.beside))
            bound.append((block, stack.block(block, streams, position)))
        return bound

    def cached_modules(self) -> tuple[nn.Module, dict[str, list[nn.Module]]]:
        """See `Site.cached_modules`: the blocks after the head."""
        return self.model, {SKIPPED: self.blocks[self.head :]}


class _Phase(Enum):
    """How far the model's forward has come in its stack."""

    OUTSIDE = "the model's forward is not running"
    BEFORE = "the first block has not been reached"
    COMPUTING = "the blocks run"
    SKIPPING = "the blocks pass their input on"
    AFTER = "the last block has run"


class _Stack:
    """What the forwards bound for one `StackSite` share."""

    def __init__(self, site: StackSite, session: Session) -> None:
        self.site = site
        self.session = session
        self.timestep: Any = None
        self.phase = _Phase.OUTSIDE
        # Hidden states before and after the head, until the region has been entered.
        self.around_head: list[torch.Tensor] = []
        # Tokens of the hidden states that entered the region.
        self.length = 0

    def outer(self, original: Forward, timestep: Argument) -> Forward:
        """The model's forward: tells the timestep to the blocks."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.timestep = timestep.value(args, kwargs)
            self.phase = _Phase.BEFORE
            try:
                output = original(*args, **kwargs)
                if self.phase is _Phase.COMPUTING:
                    raise _not_in_order("the last block of the stack did not run")
            finally:
                self.phase, self.timestep, self.around_head = _Phase.OUTSIDE, None, []
            return output

        return forward

    def block(self, block: nn.Module, streams: list[Argument], position: int) -> Forward:
        """A block's forward. `streams` are its hidden states, and a second stream if it takes one."""
        original, hidden = block.forward, streams[0]
        head, last = self.site.head, len(self.site.blocks) - 1

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self.phase is _Phase.OUTSIDE:
                return original(*args, **kwargs)
            if position < head:
                return self._run_head(position, original, hidden, args, kwargs)
            if position == head:
                predicted = self._enter(block, hidden, args, kwargs)
                if predicted is not None:
                    beside = [stream.value(args, kwargs) for stream in streams[1:]]
                    return (predicted[0], *beside) if beside else predicted[0]
            elif self.phase is _Phase.SKIPPING:
                passed = tuple(stream.value(args, kwargs) for stream in streams)
                return passed if len(passed) > 1 else passed[0]
            output = original(*args, **kwargs)
            if position == last and self.phase is _Phase.COMPUTING:
                outputs = as_tensors(output, hidden)
                self.session.leave(outputs if self.site.beside is None else self._first_stream(outputs))
                self.phase = _Phase.AFTER
            return output

        return forward

    def _run_head(
        self,
        position: int,
        original: Forward,
        hidden: Argument,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.phase is not _Phase.BEFORE or (position == 0) != (not self.around_head):
            raise _not_in_order("the first block of the stack ran again in the same forward")
        if position == 0:
            self.around_head = list(snapshot(as_tensors(hidden.value(args, kwargs), hidden)))
        output = original(*args, **kwargs)
        if position == self.site.head - 1:
            self.around_head.append(output[0] if isinstance(output, tuple) else output)
        return output

    def _enter(
        self, block: nn.Module, hidden: Argument, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensors | None:
        if self.phase is not _Phase.BEFORE:
            raise _not_in_order("the first block of the stack ran again in the same forward")
        inputs = as_tensors(hidden.value(args, kwargs), hidden)
        self.length = inputs[0].shape[1] if self.site.beside is not None else 0
        predicted = self.session.enter(self.timestep, inputs, self._source(block, args, kwargs))
        self.around_head = []
        self.phase = _Phase.COMPUTING if predicted is None else _Phase.SKIPPING
        return predicted

    def _source(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SignalSource | None:
        """What a policy's signal is the change of, if this site has it."""
        modulation = self.site.modulation
        if self.site.head:
            before, after = self.around_head
            return lambda: (after - before,)
        return None if modulation is None else lambda: (modulation(block, args, kwargs),)

    def _first_stream(self, outputs: Tensors) -> Tensors:
        """The hidden states alone, without a second stream returned beside or appended."""
        return (outputs[0][:, : self.length],)


def _not_in_order(found: str) -> SiteError:
    return SiteError(
        f"expected each forward to run every block once, in the order listed; found that {found}",
        hint="list the blocks in the order the model runs them",
    )
