"""A recorded generation for the search of schedules: what its outputs have to do with one another.

All that predictors do with outputs is linear, with coefficients from inner products. So vectors of a few
dozen numbers with the same inner products serve in the outputs' place, whatever the size of the video.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch

from navicache_cli.cache.growth import growth
from navicache_cli.cache.tensors import Tensors

# Of the largest eigenvalue: below, there is only what rounding to float64 leaves.
_LEAST = 1e-13


@dataclass(frozen=True)
class Recording:
    """One generation of N steps, all computed, each with B calls of the model and P parts in each call.

    Parts are the two entries of a batch, such as the branches of the guidance where one call has both;
    otherwise there is one.

    Attributes:
        products: [N B P, N B P] float64, inner products of all outputs, ordered by step, call and part.
        timesteps: [N] t_i, as the predictors are told them.
        mix: [K, B P] float64; row k says what of a step's outputs the sampler moves the k-th latents by.
        calls: B.
        scale: Euclidean norm of the latents at the last step.
        taken_over: steps at which another model takes over, so that nothing is predicted across them.
        error_weights: [N] what an error of each step's output counts for on the latents at the end, relative
            to other steps. An error grows, or fades, with all the steps after it; how much is the model's
            own, and not in a recording. Without any, `growth` says it.
    """

    products: torch.Tensor
    timesteps: tuple[float, ...]
    mix: torch.Tensor
    calls: int
    scale: float
    taken_over: frozenset[int] = frozenset()
    error_weights: tuple[float, ...] = ()
    outputs: list[list[Tensors]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", self._short_vectors())

    @property
    def total_steps(self) -> int:
        """N."""
        return len(self.timesteps)

    @property
    def steps_of_time(self) -> list[float]:
        """[N] how far the sampler moves with each output, times its weight; 0 for the last, always computed.

        (t_{i+1} − t_i) / t_0: timesteps are multiples of the noise level, as they are for rectified flow, and
        that is about 1 at the first step. Where they are not, weights can make up for it.
        """
        unit = max(map(abs, self.timesteps)) or 1.0
        weights = self.error_weights or [growth(t, self.timesteps[0]) for t in self.timesteps]
        gaps = [(after - t) / unit for t, after in pairwise(self.timesteps)]
        return [gap * weight for gap, weight in zip([*gaps, 0.0], weights, strict=True)]

    def _short_vectors(self) -> list[list[Tensors]]:
        """For each step and call one tensor [P, R], R at most N B P, its rows in the place of outputs."""
        values, directions = torch.linalg.eigh((self.products + self.products.T) / 2)
        kept = values > _LEAST * values.max()
        rows = (directions[:, kept] * values[kept].sqrt()).float()
        by_call = rows.reshape(self.total_steps, self.calls, -1, rows.shape[1])
        return [[(call.contiguous(),) for call in step] for step in by_call]
