"""Records a generation for the search of schedules: the inner products of all outputs of all branches."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from navicache_cli.cache.recording.recorder import Place
from navicache_cli.cache.recording.recording import Recording
from navicache_cli.cache.session.pair import is_unconditional
from navicache_cli.cache.tensors import Tensors, sum_all
from navicache_cli.errors import SiteError

_HINT = "make the schedule without this option of the pipeline, or of another pipeline"


class OutputRecorder:
    """Keeps the outputs of every call until the generation is over, and measures each against all before it.

    Memory is N outputs of each branch, in their own type; the numbers stay on their device and are read once.

    Args:
        guidance: g; with two branches the sampler moves the latents by u + g (c − u).
        offload: keep earlier outputs in the memory of the CPU, and measure there.
        conditional_first: where one call has both branches, c is the first half of its batch.

    Attributes:
        recording: what was recorded; None until the generation is over.
    """

    every_branch = True

    def __init__(self, guidance: float = 1.0, offload: bool = False, conditional_first: bool = False) -> None:
        self._guidance = guidance
        self._conditional_first = conditional_first
        self._offload = offload
        self.begin()

    def begin(self) -> None:
        """A new generation starts: forget everything."""
        self.recording: Recording | None = None
        self.clear()

    def clear(self) -> None:
        """Drop all tensors, and what was measured of a generation that is not over."""
        self._outputs: list[torch.Tensor] = []  # [P, D] of each call
        self._products: list[torch.Tensor] = []  # [P, P times the calls up to this one]
        self._places: list[Place] = []
        self._scale: torch.Tensor | None = None

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors kept now."""
        return sum(outputs.nbytes for outputs in self._outputs)

    def enter(self, inputs: Tensors, place: Place) -> None:
        """The forward is about to run on x_i, which it may write into."""
        self._places.append(place)
        if place.leads:
            self._scale = torch.stack([sum_all(x.float() ** 2) for x in inputs]).sum().sqrt()

    @torch.no_grad()
    def leave(self, outputs: Tensors) -> None:
        """The forward has returned y_i.

        Raises:
            SiteError: its shape is not that of the call before.
        """
        parts = 2 if all(y.dim() > 1 and len(y) == 2 for y in outputs) else 1
        flat = torch.cat([y.detach().reshape(parts, -1) for y in outputs], dim=1)
        if self._offload:
            flat = flat.cpu()
        if self._outputs and flat.shape != self._outputs[0].shape:
            raise SiteError(
                f"expected outputs of {tuple(self._outputs[0].shape)} numbers in all calls, to measure each "
                f"against the others; found {tuple(flat.shape)}",
                hint=_HINT,
            )
        self._outputs.append(flat)
        # In float64: outputs of neighbouring steps differ by a hundredth, and it is the square that counts.
        new = flat.double()
        self._products.append(torch.cat([new @ earlier.double().T for earlier in self._outputs], dim=1))

    def finish(self) -> None:
        """The generation is over: read the numbers, waiting for the device, and drop the tensors.

        Raises:
            SiteError: its steps did not have the same calls.
        """
        if not self._products:
            return
        branches = _calls_of_each_step(self._places)
        leading = [place for place in self._places if place.leads]
        parts = len(self._products[0])
        products = torch.zeros(2 * (parts * len(self._products),), dtype=torch.float64)
        for number, row in enumerate(self._products):
            products[number * parts : (number + 1) * parts, : row.shape[1]] = row.cpu()
        products = products.tril() + products.tril(-1).T
        scale = 1.0 if self._scale is None else float(self._scale)
        self.recording = Recording(
            products,
            tuple(place.timestep for place in leading),
            combination(branches, parts, self._guidance, self._conditional_first),
            len(branches),
            scale,
            frozenset(i for i in range(1, len(leading)) if leading[i].model != leading[i - 1].model),
        )
        self.clear()


def _calls_of_each_step(places: Sequence[Place]) -> list[tuple[Hashable, ...]]:
    """The names of a step's branches, in the order of their calls; of unnamed ones, empty tuples."""
    steps: list[list[tuple[Hashable, ...]]] = []
    for place in places:
        if place.leads:
            steps.append([])
        steps[-1].append(place.names)
    if any(names != steps[0] for names in steps):
        odd = next(index for index, names in enumerate(steps) if names != steps[0])
        raise SiteError(
            f"expected the {len(steps[0])} calls of the first step in all steps, found others in step {odd}",
            hint=_HINT,
        )
    return steps[0]


def combination(
    branches: Sequence[tuple[Hashable, ...]],
    parts: int,
    guidance: float,
    conditional_first: bool = False,
) -> torch.Tensor:
    """How a sampler puts a step's outputs together.

    Two branches are those of the guidance: the unconditional one has a name that says so, or is called
    second. So are the two parts of a single call, where there is guidance at all. What else there may be,
    such as windows of frames, is taken for latents of its own.

    Args:
        branches: the names of a step's branches.
        parts: of each call.
        guidance: g.
        conditional_first: of the two parts; diffusers has it second.

    Returns:
        [K, len(branches) · parts] float64, see `Recording.mix`.
    """
    if len(branches) == 2:
        weights = [guidance, 1 - guidance]
        if is_unconditional(branches[0]):
            weights.reverse()
        one = torch.eye(parts, dtype=torch.float64)
        return torch.cat([weight * one for weight in weights], dim=1)
    if len(branches) == 1 and parts == 2 and guidance != 1:
        both = [guidance, 1 - guidance] if conditional_first else [1 - guidance, guidance]
        return torch.tensor([both], dtype=torch.float64)
    return torch.eye(len(branches) * parts, dtype=torch.float64)
