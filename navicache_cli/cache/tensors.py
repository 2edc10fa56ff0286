"""Small operations on the tensors of one call: distances, copies, sizes, and reading numbers back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

Tensors = tuple[torch.Tensor, ...]
# Makes a vector of numbers, in place, what it is on the first of several processes.
Agree = Callable[[torch.Tensor], None]


@torch.no_grad()
def mean_abs(tensors: Tensors) -> torch.Tensor:
    """‖a‖: the mean absolute value over all elements of all `tensors`, summed in float32; 0-dim."""
    return _mean(a.abs() for a in tensors)


@torch.no_grad()
def mean_abs_difference(a: Tensors, b: Tensors) -> torch.Tensor:
    """‖a − b‖ for tensors of the same shapes: subtracted in the wider type, summed in float32; 0-dim."""
    return _mean((u - v).abs_() for u, v in zip(a, b, strict=True))


def sum_all(a: torch.Tensor) -> torch.Tensor:
    """The sum over all elements, in float32; 0-dim, and the same to the last bit on any number of threads.

    One sum over everything would be shared out among a CPU's threads, and so added up in another order on
    two of them; a sum over the last dimension alone is not, and seldom leaves enough to share out.
    """
    # sum() and not vector_norm(): on a CPU the latter adds one element after another, and a float32
    # total of tens of millions of elements then stops growing a third short.
    return a.sum(-1, dtype=torch.float32).sum()


def _mean(magnitudes: Iterable[torch.Tensor]) -> torch.Tensor:
    totals, counts = zip(*((sum_all(a), a.numel()) for a in magnitudes), strict=True)
    mean: torch.Tensor = sum(totals[1:], totals[0]) / sum(counts)
    return mean


@torch.no_grad()
def difference(a: Tensors, b: Tensors) -> Tensors:
    """a − b for tensors of the same shapes, in the types of a."""
    return tuple((u - v).to(u.dtype) for u, v in zip(a, b, strict=True))


@torch.no_grad()
def magnitude_ratio(a: Tensors, b: Tensors) -> torch.Tensor:
    """The mean over all vectors (last dimension) of |a| / |b|, Euclidean norms in float32; 0-dim.

    Vectors where b is zero, such as padding, are left out.
    """
    quotients = []
    for u, v in zip(a, b, strict=True):
        top, bottom = (torch.linalg.vector_norm(w, dim=-1, dtype=torch.float32) for w in (u, v))
        # No boolean index: that would make the device wait.
        quotients.append(torch.where(bottom > 0, top / bottom, torch.nan).flatten())
    return torch.cat(quotients).nanmean()


def snapshot(tensors: Tensors) -> Tensors:
    """Copies that later in-place changes do not reach.

    Samplers update latents in place, and models write into their own buffers; a kept reference would
    then show the new values, and the residual would be wrong without a word.
    """
    return tuple(a.detach().clone() for a in tensors)


def float32_copy(a: torch.Tensor) -> torch.Tensor:
    """A copy in float32, to work on in place: what is cached may be larger than the memory left."""
    return a.detach().to(torch.float32, copy=True)


def same_layout(a: Tensors, b: Tensors) -> bool:
    """Whether both hold as many tensors, pairwise of the same shape and device.

    Their types may differ: HunyuanVideo's latents are half precision at the first step, float32 afterwards.
    """
    return len(a) == len(b) and all(
        u.shape == v.shape and u.device == v.device for u, v in zip(a, b, strict=True)
    )


def size_in_bytes(groups: Iterable[Tensors]) -> int:
    """Bytes of all tensors in `groups`, each tensor counted once."""
    return sum({id(a): a.nbytes for group in groups for a in group}.values())


def reading_is_free(tensor: torch.Tensor) -> bool:
    """Whether a value can be read without waiting for a device."""
    return tensor.device.type == "cpu"


def timestep_number(timestep: float | torch.Tensor) -> float | torch.Tensor:
    """The one number `timestep` stands for; a 0-dim tensor where reading it would mean waiting.

    A tensor may hold one number, one per sample, or one per token. The largest counts: where some frames
    are given as a condition their timestep is 0 at every step, and only the others tell the step.
    """
    if not isinstance(timestep, torch.Tensor):
        return float(timestep)
    largest = timestep.detach() if timestep.dim() == 0 else timestep.detach().amax()
    return float(largest.item()) if reading_is_free(timestep) else largest


def read_numbers(scalars: Sequence[torch.Tensor], agree: Agree | None = None) -> list[float]:
    """The values of 0-dim tensors, float32, fetched from their device in a single transfer.

    With `agree` they are those of the first process, exchanged before the transfer: no wait is added.
    """
    if not scalars:
        return []
    device = scalars[-1].device
    numbers = torch.stack([a.detach().to(device, torch.float32) for a in scalars])
    if agree is not None:
        agree(numbers)
    values: list[float] = numbers.tolist()
    return values
