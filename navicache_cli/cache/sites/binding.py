"""Runs something in the place of a module's calls: outermost, above its hooks and whatever compiled it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, NamedTuple

import torch
from torch import nn

from navicache_cli.errors import SiteError

_ABSENT = object()
MARK = "_navicache_session"  # attribute of what is bound
# `Module.__call__` calls what an instance has here instead of its hooks and its forward; `Module.compile`
# puts the compiled call there. Copies and pickles of a module come without it.
_CALL, _FORWARD = "_compiled_call_impl", "forward"


class Before(NamedTuple):
    """What is known before a call runs: its `answer`, and it does not run; or what `after` is given."""

    answered: bool
    answer: Any = None


class Around(ABC):
    """What happens around the calls of a module. No part is ever compiled."""

    @abstractmethod
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """A call starts."""

    @abstractmethod
    def after(self, before: Any, output: Any) -> None:
        """The call has run and returned `output`; `before` is the answer that `before` gave."""

    def failed(self) -> None:  # noqa: B027  most have nothing to do then
        """The call has run and raised."""


class CallBinding:
    """Binds `around` to the calls of one module, on the instance, until `release`.

    Where the module's class has a `__call__` of its own, its forward is bound instead. Others may put
    something of theirs in the same place: `renew` binds over that, and `release` leaves it there.

    Args:
        module: the module.
        around: what happens around its calls.
        owner: said by `bound_to`.

    Raises:
        SiteError: something is bound to the module already.
    """

    def __init__(self, module: nn.Module, around: Around, owner: object) -> None:
        refuse_bound(module)
        self.module = module
        self._around = around
        self._owner = owner
        self._slot = _CALL if _calls_as_modules_do(module) else _FORWARD
        self._bound: Callable[..., Any] | None = None
        self.renew()

    @property
    def intact(self) -> bool:
        """Whether calls of the module come here first."""
        return self._bound is not None and self.module.__dict__.get(self._slot) is self._bound

    def renew(self) -> None:
        """Bind over whatever has been put in this place meanwhile."""
        if self.intact:
            return
        self._before = self.module.__dict__.get(self._slot, _ABSENT)
        self._bound = self._wrap()
        self.module.__dict__[self._slot] = self._bound

    def release(self) -> None:
        """Put back what was there, unless others have put something over it."""
        if self.intact:
            if self._before is _ABSENT:
                del self.module.__dict__[self._slot]
            else:
                self.module.__dict__[self._slot] = self._before
        self._bound = None

    def _wrap(self) -> Callable[..., Any]:
        beneath = getattr(self.module, self._slot)
        if beneath is None:
            beneath = self.module._call_impl
        # Not the calls themselves: they may be compiled.
        disable: Any = torch.compiler.disable
        before, after = disable(self._around.before), disable(self._around.after)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._bound is not bound:  # Others have kept this one, and call it beneath theirs.
                return beneath(*args, **kwargs)
            found = before(args, kwargs)
            if found.answered:
                return found.answer
            try:
                output = beneath(*args, **kwargs)
            except BaseException:
                self._around.failed()
                raise
            after(found.answer, output)
            return output

        bound: Callable[..., Any] = disable(call, recursive=False)
        update_wrapper(bound, self.module.forward)
        setattr(bound, MARK, self._owner)
        return bound


def bound_to(module: nn.Module) -> Any:
    """Whose the cache is that is bound to a module; None where there is none."""
    places = (module.__dict__.get(_CALL), module.forward)
    return next((getattr(place, MARK) for place in places if hasattr(place, MARK)), None)


def refuse_bound(module: nn.Module) -> None:
    """Check that no cache is bound to a module.

    Raises:
        SiteError: one is.
    """
    if bound_to(module) is not None:
        raise SiteError(
            f"expected {type(module).__name__} without a cache, found a session attached to it",
            hint="leave the first attach(...) block, or navicache.disable(...), before attaching another",
        )


def _calls_as_modules_do(module: nn.Module) -> bool:
    """Whether the class leaves calls to `Module.__call__`; what torch.compile makes of a module passes on."""
    plain = type(module).__call__ is nn.Module.__call__ or hasattr(module, "_torchdynamo_orig_callable")
    return plain and hasattr(nn.Module, _CALL)
