"""Calls of modules as their callers see them: above a cache, so also those that it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

Call = Callable[..., Any]


@contextmanager
def watched(watch: Callable[[nn.Module, tuple[Any, ...], Call], Any]) -> Iterator[None]:
    """Put `watch` in the place of all calls of all modules, within the `with` block.

    It is given the module, its positional arguments, and the call itself, which it makes.
    """
    call = nn.Module.__call__

    def outermost(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return watch(self, args, lambda: call(self, *args, **kwargs))

    nn.Module.__call__ = outermost
    try:
        yield
    finally:
        nn.Module.__call__ = call
