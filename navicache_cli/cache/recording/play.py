"""What a schedule would do to a recorded generation, played with the predictors of a real one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch

from navicache_cli.cache.predictors.predictor import Kept, MakePredictor, Skipped
from navicache_cli.cache.recording.recording import Recording
from navicache_cli.cache.session.memory import Branch
from navicache_cli.cache.session.pair import GuidedPair
from navicache_cli.cache.tensors import Tensors, read_numbers


class Play:
    """Goes through a recording: a computed step has its recorded outputs, a skipped one predictions.

    The predictors are those of a session, and are called as it calls them. Latents stay on the recorded path,
    where a real generation would leave it by what the predictions miss; so the first error is exact and all
    later ones are near. The error on the path after step i is the sum over all steps j up to it of

        w_j (t_{j+1} − t_j) / t_0 · Σ_b m_b (ŷ_{j,b} − y_{j,b})

    m the combination of a step's branches, such as that of guidance, and w how errors grow (see `Recording`).

    Args:
        recording: of the generation.
        make_predictor: makes the predictor of each branch; one that looks at outputs alone.

    Attributes:
        index: the step that comes next.
        worst: the largest norm of the error on the path so far, relative to the latents.
        outputs: of the last step, by call.
    """

    def __init__(self, recording: Recording, make_predictor: MakePredictor) -> None:
        self._recording = recording
        self._make = make_predictor
        self._moves = recording.steps_of_time
        self._mix = recording.mix.float()
        self._error: torch.Tensor | float = 0.0
        self._branches = self._new_branches()
        self._pair = GuidedPair()
        # Two calls a step are a pair, as where a session knows the scale of guidance.
        self._pair.scale = (
            float(self._mix.max()) if recording.calls == 2 and self._mix.shape == (1, 2) else None
        )
        self.index = 0
        self.worst = 0.0
        self.outputs: list[Tensors] = []

    def step(self, compute: bool) -> None:
        """Go through the next step; the first, and one at which a model takes over, has to be computed."""
        recorded, taken_over = self._recording.outputs[self.index], self._recording.taken_over
        if self.index in taken_over:
            self._branches = self._new_branches()
            self._pair.forget()
        self.outputs = self._computed(recorded) if compute else self._predicted()
        if not compute:
            self._add_error(recorded)
        self.index += 1

    def copy(self) -> Play:
        """The play as it stands; the two go on apart."""
        other = copy.copy(self)
        # Tensors are shared: nothing writes into them.
        shared = {id(call): call for step in self._recording.outputs for call in step}
        other._branches, other._pair = copy.deepcopy((self._branches, self._pair), shared)
        return other

    def _new_branches(self) -> list[Branch]:
        return [Branch(self._make) for _ in range(self._recording.calls)]

    def _computed(self, recorded: list[Tensors]) -> list[Tensors]:
        """The branches learn from a step's outputs, and keep them."""
        timestep = self._recording.timesteps[self.index]
        self._pair.start()
        for branch, outputs in zip(self._branches, recorded, strict=True):
            call = Kept(self.index, (), outputs, timestep)
            if branch.predictor.observes:
                _teach(self._pair.learn, self._pair.measure(call, branch, (), misses=False).products)
            _teach(branch.predictor.learn, branch.observe(call))
            branch.keep(call)
        return recorded

    def _predicted(self) -> list[Tensors]:
        times = self._recording.timesteps
        now, gap = times[self.index], times[self.index] - times[self.index - 1]
        self._pair.start()
        predicted = []
        for branch in self._branches:
            call = Skipped(self.index, (), now, gap, self._pair.fit(branch, ()))
            predicted.append(branch.predictor.predict(call, branch.history))
        return predicted

    def _add_error(self, recorded: list[Tensors]) -> None:
        missed = torch.cat([ours[0] - theirs[0] for ours, theirs in zip(self.outputs, recorded, strict=True)])
        self._error = self._error + self._moves[self.index] * (self._mix @ missed)
        self.worst = max(self.worst, float(self._error.norm()) / self._recording.scale)


def _teach(learn: Callable[[Mapping[str, float]], None], numbers: Mapping[str, torch.Tensor]) -> None:
    if numbers:
        learn(dict(zip(numbers, read_numbers(list(numbers.values())), strict=True)))


def played(recording: Recording, computed: Sequence[bool], make_predictor: MakePredictor) -> Play:
    """Play a whole schedule: for each step whether it is computed."""
    play = Play(recording, make_predictor)
    for compute in computed:
        play.step(compute)
    return play
