"""Where a session meets a model: a whole forward, or a stack of blocks. The only binder of forwards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import update_wrapper
from typing import Any, Protocol

import torch
from torch import nn

from navicache_cli.cache.outputs import Rebuild, read_output
from navicache_cli.cache.session import Session
from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError

Forward = Callable[..., Any]

_ABSENT = object()
_MARK = "_navicache_session"


class Site(Protocol):
    """A cached region of a model."""

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """The modules to bind, each with the forward that replaces its present one. Binds nothing.

        Raises:
            SiteError: a module is not as this site expects.
        """


@contextmanager
def attach(site: Site, session: Session) -> Iterator[Session]:
    """Run `site` under `session` inside the `with` block; afterwards every forward is back as it was.

    Forwards are bound on the instance, over whatever is bound there already, never on the class: other
    instances, and a sequence-parallel forward beneath, are left alone. On the way out the session's
    records are completed (unless an exception passes) and its tensors are dropped.

    Raises:
        SiteError: a session is attached here already, this one is attached elsewhere, or the site does
            not fit its module.
    """
    bindings = site.bindings(session)
    for module, _ in bindings:
        if hasattr(module.forward, _MARK):
            raise SiteError(
                f"expected {type(module).__name__} without a cache, found a session attached to it",
                hint="leave the first attach(...) block before entering another",
            )
    if session.attached:
        raise SiteError(
            "expected a session that is free, found it attached to another site",
            hint="make a session of its own for each site",
        )
    before = [(module, module.__dict__.get("forward", _ABSENT)) for module, _ in bindings]
    try:
        session.attached = True
        for module, forward in bindings:
            update_wrapper(forward, module.forward)
            setattr(forward, _MARK, session)
            module.__dict__["forward"] = forward
        yield session
        session.finish()
    finally:
        for module, forward in before:
            if forward is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
        session.clear()
        session.attached = False


class ForwardSite:
    """The whole forward of a model: x in, an output of the same shape out.

    x may be a tensor or a list or tuple of tensors. For the forms of output see `read_output`; a
    skipped call returns the form the last computed call had. A wrapper that holds the model in `module`
    (FSDP, DDP) is bound itself, so that a skipped call gathers no weights either.

    Args:
        module: the model.
        timestep: name of the forward's parameter that tells the step.
        inputs: name of the parameter that is x.
    """

    def __init__(self, module: nn.Module, timestep: str = "t", inputs: str = "x") -> None:
        self.module = module
        self.timestep = timestep
        self.inputs = inputs

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """See `Site.bindings`.

        Raises:
            SiteError: the forward lacks one of the parameters.
        """
        original = self.module.forward
        timestep = _find_argument(self.module, self.timestep)
        inputs = _find_argument(self.module, self.inputs)
        rebuild: Rebuild | None = None

        def forward(*args: Any, **kwargs: Any) -> Any:
            nonlocal rebuild
            x = inputs.value(args, kwargs)
            predicted = session.enter(timestep.value(args, kwargs), _as_tensors(x, inputs))
            if predicted is not None:
                assert rebuild is not None, "a prediction before any computed call"
                return rebuild(predicted)
            output = original(*args, **kwargs)
            outputs: Tensors = ()
            if session.reads_outputs:
                outputs, rebuild = read_output(output, many=not isinstance(x, torch.Tensor))
            session.leave(outputs)
            return output

        return [(self.module, forward)]


class StackSite:
    """A stack of blocks inside a model: hidden states in and out; embedders and final layer always run.

    On a skipped step the first block returns the prediction and the others return their input; none of
    them runs. Blocks called outside the model's forward are left alone.

    Args:
        model: the model; its forward is bound only to learn the timestep.
        blocks: the blocks in the order they run, each once per forward.
        timestep: name of the parameter of the model's forward that tells the step.
        hidden: name or position of the hidden states among each block's parameters.

    Raises:
        SiteError: there are no blocks, or one appears twice.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Iterable[nn.Module],
        timestep: str = "timestep",
        hidden: str | int = 0,
    ) -> None:
        self.model = model
        self.blocks = list(blocks)
        self.timestep = timestep
        self.hidden = hidden
        if not self.blocks or len(set(self.blocks)) < len(self.blocks):
            raise SiteError(
                f"expected a list of different blocks, found {len(self.blocks)}, "
                f"of which {len(set(self.blocks))} differ",
                hint="list each block once, in the order the model runs them",
            )

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """See `Site.bindings`.

        Raises:
            SiteError: the model's or a block's forward lacks its parameter.
        """
        stack = _Stack(session)
        timestep = _find_argument(self.model, self.timestep)
        bound = [(self.model, stack.outer(self.model.forward, timestep))]
        last = len(self.blocks) - 1
        for position, block in enumerate(self.blocks):
            hidden = _find_argument(block, self.hidden)
            bound.append((block, stack.block(block.forward, hidden, position == 0, position == last)))
        return bound


class _Phase(Enum):
    """How far the model's forward has come in its stack."""

    OUTSIDE = "the model's forward is not running"
    BEFORE = "the first block has not been reached"
    COMPUTING = "the blocks run"
    SKIPPING = "the blocks pass their input on"
    AFTER = "the last block has run"


class _Stack:
    """What the forwards bound for one `StackSite` share."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.timestep: Any = None
        self.phase = _Phase.OUTSIDE

    def outer(self, original: Forward, timestep: _Argument) -> Forward:
        """The model's forward: tells the timestep to the blocks."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.timestep = timestep.value(args, kwargs)
            self.phase = _Phase.BEFORE
            try:
                output = original(*args, **kwargs)
                if self.phase is _Phase.COMPUTING:
                    raise _not_in_order("the last block of the stack did not run")
            finally:
                self.phase, self.timestep = _Phase.OUTSIDE, None
            return output

        return forward

    def block(self, original: Forward, hidden: _Argument, first: bool, last: bool) -> Forward:
        """A block's forward."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if first and self.phase is not _Phase.OUTSIDE:
                predicted = self._enter(_as_tensors(hidden.value(args, kwargs), hidden))
                if predicted is not None:
                    return predicted[0]
            elif self.phase is _Phase.SKIPPING:
                return hidden.value(args, kwargs)
            output = original(*args, **kwargs)
            if last and self.phase is _Phase.COMPUTING:
                self.session.leave(_as_tensors(output, hidden))
                self.phase = _Phase.AFTER
            return output

        return forward

    def _enter(self, hidden: Tensors) -> Tensors | None:
        if self.phase is not _Phase.BEFORE:
            raise _not_in_order("the first block of the stack ran again in the same forward")
        predicted = self.session.enter(self.timestep, hidden)
        self.phase = _Phase.COMPUTING if predicted is None else _Phase.SKIPPING
        return predicted


def _not_in_order(found: str) -> SiteError:
    return SiteError(
        f"expected each forward to run every block once, in the order listed; found that {found}",
        hint="list the blocks in the order the model runs them",
    )


@dataclass(frozen=True)
class _Argument:
    """Where a call carries one parameter: by `name`, or at `position` if that is not None."""

    owner: str
    name: str
    position: int | None

    def value(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.position is not None and self.position < len(args):
            return args[self.position]
        if self.name in kwargs:
            return kwargs[self.name]
        raise SiteError(
            f"{self.owner}: expected an argument for {self.name!r} in the call, found none",
            hint="the cache needs it at every call; pass it",
        )


def _find_argument(module: nn.Module, which: str | int) -> _Argument:
    """Look up the parameter `which`, by name or by position, in the forward `module` has now."""
    kinds = inspect.Parameter
    signature = inspect.signature(module.forward)
    # The forward of FSDP or DDP takes anything and passes it on as it came: the model inside has the names.
    while all(p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) for p in signature.parameters.values()):
        inner = getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            break
        module, signature = inner, inspect.signature(inner.forward)
    owner = f"{type(module).__name__}.forward"
    positional = [p.name for p in signature.parameters.values() if p.kind <= kinds.POSITIONAL_OR_KEYWORD]
    keywords = [p.name for p in signature.parameters.values() if p.kind is kinds.KEYWORD_ONLY]
    if isinstance(which, int) and which < len(positional):
        return _Argument(owner, positional[which], which)
    if which in positional:
        return _Argument(owner, str(which), positional.index(str(which)))
    if which in keywords:
        return _Argument(owner, str(which), None)
    raise SiteError(
        f"{owner}: expected a parameter {which!r}, found {signature}",
        hint="name the parameters this model uses when making the site",
    )


def _as_tensors(value: Any, argument: _Argument) -> Tensors:
    """`value` as a tuple of at least one tensor."""
    tensors = (value,) if isinstance(value, torch.Tensor) else value
    if isinstance(tensors, list | tuple) and tensors and all(isinstance(a, torch.Tensor) for a in tensors):
        return tuple(tensors)
    raise SiteError(
        f"{argument.owner}: expected {argument.name!r} to be a tensor or a list of tensors, "
        f"found {type(value).__name__}",
        hint="name the parameter that is x when making the site",
    )
