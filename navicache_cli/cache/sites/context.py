"""The names that pipelines of diffusers give to the calls of a model: `with model.cache_context("cond")`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn

_SLOT = "cache_context"


class ContextWatch:
    """Tells the names on, on the instance, until `release`; nothing where the model gives its calls no names.

    A copy or a pickle of the model has the method of its class in this place.

    Args:
        module: the model.
        branch: is entered with each name while that lasts.
    """

    def __init__(self, module: nn.Module, branch: Callable[[str], AbstractContextManager[None]]) -> None:
        self._module = module
        self._branch = branch
        self._beneath = getattr(module, _SLOT, None)
        self.renew()

    def renew(self) -> None:
        """Bind again, if others have taken this away."""
        if self._beneath is not None:
            self._module.__dict__[_SLOT] = self

    def release(self) -> None:
        """Leave the model its class's method."""
        if self._module.__dict__.get(_SLOT) is self:
            del self._module.__dict__[_SLOT]

    @contextmanager
    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        """See `diffusers.CacheMixin.cache_context`."""
        assert self._beneath is not None
        with self._beneath(name, *args, **kwargs), self._branch(name):
            yield

    def __reduce__(self) -> Any:
        return getattr, (self._module, _SLOT)
