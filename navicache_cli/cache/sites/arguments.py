"""Where a call of a module's forward carries one of its parameters, whatever way it is passed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError


@dataclass(frozen=True)
class Argument:
    """Where a call carries one parameter: by `name`, or at `position` if that is not None."""

    owner: str
    name: str
    position: int | None

    def value(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the call passes for the parameter.

        Raises:
            SiteError: nothing.
        """
        if self.position is not None and self.position < len(args):
            return args[self.position]
        if self.name in kwargs:
            return kwargs[self.name]
        raise SiteError(
            f"{self.owner}: expected an argument for {self.name!r} in the call, found none",
            hint="the cache needs it at every call; pass it",
        )


def find_argument(module: nn.Module, which: str | int) -> Argument:
    """Look up the parameter `which`, by name or by position, in the forward `module` has now.

    Raises:
        SiteError: it has no such parameter.
    """
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
        return Argument(owner, positional[which], which)
    if which in positional:
        return Argument(owner, str(which), positional.index(str(which)))
    if which in keywords:
        return Argument(owner, str(which), None)
    raise SiteError(
        f"{owner}: expected a parameter {which!r}, found {signature}",
        hint="name the parameters this model uses when making the site",
    )


def has_argument(module: nn.Module, which: str) -> bool:
    """Whether the forward `module` has now takes the parameter `which`."""
    try:
        find_argument(module, which)
    except SiteError:
        return False
    return True


def as_tensors(value: Any, argument: Argument) -> Tensors:
    """`value` as a tuple of at least one tensor."""
    tensors = (value,) if isinstance(value, torch.Tensor) else value
    if isinstance(tensors, list | tuple) and tensors and all(isinstance(a, torch.Tensor) for a in tensors):
        return tuple(tensors)
    raise SiteError(
        f"{argument.owner}: expected {argument.name!r} to be a tensor or a list of tensors, "
        f"found {type(value).__name__}",
        hint="name the parameter that is x when making the site",
    )
