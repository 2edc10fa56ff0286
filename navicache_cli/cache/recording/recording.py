"""A recorded generation for the search of schedules: what its outputs have to do with one another.

All that predictors do with outputs is linear, with coefficients from inner products. So vectors of a few
dozen numbers with the same inner products serve in the outputs' place, whatever the size of the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch

from navicache_cli.cache.growth import growth
from navicache_cli.cache.tensors import Tensors

# Of the largest eigenvalue: below, there is only what rounding to float64 leaves.
_LEAST = 1e-13
# Outputs zigzag at a step where the cosine of the changes before and after it is below this.
_TURN = -0.15
# So often outputs are averaged with their neighbours; no zigzag is so regular that once would be enough.
_SMOOTHINGS = 3


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
        smoothed: steps whose outputs are averaged with those before and after, see `settled`.
    """

    products: torch.Tensor
    timesteps: tuple[float, ...]
    mix: torch.Tensor
    calls: int
    scale: float
    taken_over: frozenset[int] = frozenset()
    error_weights: tuple[float, ...] = ()
    smoothed: frozenset[int] = frozenset()
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
        for _ in range(_SMOOTHINGS if self.smoothed else 0):
            rows = self._smoothed_once(rows)
        by_call = rows.reshape(self.total_steps, self.calls, -1, rows.shape[1])
        return [[(call.contiguous(),) for call in step] for step in by_call]

    def _smoothed_once(self, rows: torch.Tensor) -> torch.Tensor:
        by_step = rows.reshape(self.total_steps, -1, rows.shape[1])
        smooth = by_step.clone()
        for i in self.smoothed:
            smooth[i] = (by_step[i - 1] + 2 * by_step[i] + by_step[i + 1]) / 4
        return smooth.reshape(rows.shape)

    def turns(self) -> torch.Tensor:
        """[N - 2] of each step but the first and the last, the cosine of the changes before and after it.

        Of what the sampler moves the latents by; 0 where nothing changes.
        """
        steps = [self.mix.float() @ torch.cat([call for (call,) in step]) for step in self.outputs]
        changes = torch.stack(steps).flatten(1).diff(dim=0)
        return torch.nn.functional.cosine_similarity(changes[:-1], changes[1:])


def settled(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings on which steps that zigzag, in the mean of all, are smoothed.

    Where guidance is strong and the latents are mostly noise, a sampler may overshoot at every step, and each
    output takes back a part of the one before. A generation that skips steps does not follow: it holds one
    output for several steps, and what alternates is gone from the next. On the recorded path such steps would
    all look needed.
    """
    mean = torch.stack([one.turns() for one in recordings]).mean(0)
    across = {i - back for one in recordings for i in one.taken_over for back in (0, 1)}
    zigzag = frozenset(i for i, turn in enumerate(mean.tolist(), 1) if turn < _TURN and i not in across)
    return [replace(one, smoothed=zigzag) for one in recordings] if zigzag else list(recordings)
