"""A call whose original forward runs: what is measured of it, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from navicache_cli.cache.policies.policy import Measure
from navicache_cli.cache.predictors.predictor import Keep, Kept
from navicache_cli.cache.recording.recorder import Place, Records
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.pair import PairMeasures
from navicache_cli.cache.session.steps import Steps
from navicache_cli.cache.session.timing import CallTimer
from navicache_cli.cache.tensors import (
    Tensors,
    difference,
    magnitude_ratio,
    mean_abs,
    mean_abs_difference,
    snapshot,
)
from navicache_cli.errors import SiteError


class ComputedCall:
    """One call of one branch. Its tensors are empty where nothing is to be kept or measured.

    Args:
        steps: stands at the step and the branch of the call.
        timer: of the call.
        recorder: is told of the call, or of leading calls alone, if there is one.

    Attributes:
        timer: as given.
    """

    def __init__(self, steps: Steps, timer: CallTimer, recorder: Records | None = None) -> None:
        self.timer = timer
        told = recorder is not None and (steps.leads or recorder.every_branch)
        self._recorder = recorder if told else None
        self._steps = steps
        self._branch = steps.branch
        self._measure = steps.policy.measures if steps.leads else Measure.NOTHING
        self._shapes: list[torch.Size] = []
        self._inputs: Tensors = ()
        self._outputs_before: Tensors = ()  # y_c, or its residual
        self._numbers: dict[str, torch.Tensor] = {}

    def start(self, inputs: Tensors) -> None:
        """The original is about to run on `inputs`, x_i."""
        if self._recorder is not None:
            record = self._steps.record
            place = Place(record.index, record.timestep, self._steps.names, record.model, self._steps.leads)
            self._recorder.enter(inputs, place)
        if not self._steps.policy.caches:
            return
        self._shapes = [a.shape for a in inputs]
        self._measure_inputs(inputs)
        self._keep_inputs(inputs)

    @property
    def tensors(self) -> list[Tensors]:
        """All that is held until the call is over."""
        return [self._inputs, self._outputs_before]

    def recall(self, part: int, kind: str, like: torch.Tensor) -> torch.Tensor | None:
        """The output of a part of the model to use again, or None: run the part, then call `part_ran`.

        Args:
            part: its number.
            kind: whether this step uses it again is decided for all of a kind.
            like: a tensor of its output's shape.
        """
        steps, decision = self._steps, self._steps.record.decision
        output = steps.parts.recall(part, steps.name, like) if kind in decision.reuse else None
        if output is None or not self._keeps(kind):
            steps.parts.drop(part, steps.name)
        return output

    def part_ran(self, part: int, kind: str, output: torch.Tensor) -> None:
        """The part, of this kind, has run and returned `output`."""
        self._steps.parts.ran(part, self._steps.name, output, keep=self._keeps(kind))

    def _keeps(self, kind: str) -> bool:
        return kind in self._steps.record.decision.keep and not self._steps.is_last

    def finish(self, outputs: Tensors, read: DeviceRead) -> None:
        """The original has returned `outputs`, y_i: measure and keep them.

        Args:
            outputs: y_i; not looked at where the policy caches nothing and nothing is recorded.
            read: reads what is measured, later.

        Raises:
            SiteError: the outputs' shapes are not those of the inputs.
        """
        if self._recorder is not None:
            self._recorder.leave(outputs)
        steps = self._steps
        if not steps.policy.caches:
            return
        shapes = [a.shape for a in outputs]
        if shapes != self._shapes:
            expected, found = ([tuple(shape) for shape in each] for each in (self._shapes, shapes))
            raise SiteError(
                f"expected outputs of the inputs' shapes, {expected}, to reuse their difference; "
                f"found {found}",
                hint="attach to the stack of blocks inside this model, or use the method 'off'",
            )
        by_residual = self._branch.stores_residual and bool(self._inputs)
        kept = difference(outputs, self._inputs) if by_residual else outputs
        numbers = self._measured(kept)
        self._outputs_before = ()
        misses: Mapping[str, torch.Tensor] = {}
        if not steps.is_last:
            call = Kept(steps.record.index, self._inputs, outputs, steps.record.timestep)
            # Read before the numbers measured: the error estimate needs what the predictor learns.
            misses = self._observe(call, read)
            if by_residual:
                call.inputs = ()
            else:
                kept = snapshot(outputs)
            call.outputs = kept
            self._branch.keep(call)
        read.later(numbers, steps.measured)
        read.later(misses, steps.missed)
        if steps.leads:
            steps.branches.computed(steps.record.index)

    def _observe(self, call: Kept, read: DeviceRead) -> Mapping[str, torch.Tensor]:
        """Have branch and pair learn from this call; return what its prediction would have missed."""
        steps, predictor = self._steps, self._branch.predictor
        found = PairMeasures()
        if predictor.observes:
            misses = steps.policy.measures is Measure.MISSES
            found = steps.pair.measure(call, self._branch, steps.names, misses)
        read.later(self._branch.observe(call), predictor.learn)
        read.later(found.products, steps.pair.learn)
        return found.misses

    def _measure_inputs(self, inputs: Tensors) -> None:
        """Measure x_i, and free what the branch kept and no longer needs."""
        last = self._branch.release()
        if self._measure.changes:
            self._numbers["input_norm"] = mean_abs(inputs)
        if last is None or self._measure is Measure.NOTHING:
            return
        self._outputs_before = last.outputs
        if self._measure.changes:
            self._numbers["input_span"] = mean_abs_difference(inputs, last.inputs)

    def _keep_inputs(self, inputs: Tensors) -> None:
        """Hold a copy of x_i, which the forward may write into, if it is needed after that."""
        steps, measures = self._steps, self._steps.policy.measures
        follows = steps.leads and steps.signal.follows_inputs
        if follows:
            steps.signal.previous = ()  # freed before the copy is made
        if steps.is_last:  # nothing will be predicted from it
            copied = measures is Measure.RESIDUAL
        else:
            copied = self._branch.predictor.keeps is not Keep.OUTPUTS or measures.changes
        if copied:
            self._inputs = snapshot(inputs)
        if follows:
            steps.signal.previous = self._inputs

    def _measured(self, kept: Tensors) -> dict[str, torch.Tensor]:
        """What `Measured` names; `kept` is y_i, or its residual."""
        found = self._numbers
        if self._measure is Measure.RESIDUAL and self._outputs_before:
            found["residual_ratio"] = magnitude_ratio(kept, self._outputs_before)
        if self._measure.changes:
            found["output_norm"] = mean_abs(kept)
        if self._measure.changes and self._outputs_before:
            found["output_span"] = mean_abs_difference(kept, self._outputs_before)
        return found
