"""Which part of a call's arguments the sampler moves: x, of the shape of what the model returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError


@dataclass(frozen=True)
class Part:
    """An argument as large as an output: its leading channels, or it with zeros behind them.

    Attributes:
        name: of the argument.
        axis: where it has more or fewer channels than the output; None where it has as many.
        size: the output's number of them.
    """

    name: str
    axis: int | None = None
    size: int = 0

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of `tensor`, which it shares where it is no larger."""
        if self.axis is None:
            return tensor
        lacking = self.size - tensor.shape[self.axis]
        if lacking <= 0:
            return tensor.narrow(self.axis, 0, self.size)
        behind = [0, 0] * (tensor.dim() - self.axis - 1)
        return pad(tensor, (*behind, 0, lacking))


def find_parts(arguments: Mapping[str, torch.Tensor], outputs: Sequence[torch.Tensor]) -> list[Part]:
    """The part of the arguments that each output belongs to.

    Conditions are given as channels behind the latents, and some models return a variance behind the noise:
    so the first output may differ from the first argument on one axis. Further outputs belong to further
    arguments of their shape.

    Args:
        arguments: hidden states by the names of their parameters, those the sampler moves first.
        outputs: what the model made of them.

    Raises:
        SiteError: an output fits none.
    """
    (name, x), *others = arguments.items()
    y, *further = outputs
    axes = [axis for axis, (a, b) in enumerate(zip(x.shape, y.shape, strict=False)) if a != b]
    if x.dim() != y.dim() or len(axes) > 1:
        raise _fits_none(y, arguments)
    parts = [Part(name, axes[0], y.shape[axes[0]]) if axes else Part(name)]
    for output in further:
        fitting = [one for one in others if one[1].shape == output.shape]
        if not fitting:
            raise _fits_none(output, arguments)
        others.remove(fitting[0])
        parts.append(Part(fitting[0][0]))
    return parts


def take(parts: Sequence[Part], arguments: Mapping[str, torch.Tensor]) -> Tensors:
    """x: the parts of a call's arguments.

    Raises:
        SiteError: an argument is missing.
    """
    missing = [part.name for part in parts if part.name not in arguments]
    if missing:
        raise SiteError(
            f"expected an argument for {', '.join(missing)} in the call, found none",
            hint="the cache needs it at every call; pass it",
        )
    return tuple(part.of(arguments[part.name]) for part in parts)


def _fits_none(output: torch.Tensor, arguments: Mapping[str, torch.Tensor]) -> SiteError:
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in arguments.items())
    return SiteError(
        f"expected an output like one of {shapes}, but for the number of channels; "
        f"found {tuple(output.shape)}",
        hint="the method 'off' runs this model as it is",
    )
