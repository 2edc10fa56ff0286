"""A call whose original forward runs: what is measured of it, and what is kept of it."""

from __future__ import annotations

import torch

from navicache_cli.cache.policies.policy import Measure
from navicache_cli.cache.predictors.predictor import Kept
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.memory import Branch
from navicache_cli.cache.session.steps import Steps
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

    Making one frees what the branch kept and the call makes needless.

    Args:
        branch: whose call it is.
        inputs: x_i.
        measure: what is measured.
    """

    def __init__(self, branch: Branch, inputs: Tensors, measure: Measure) -> None:
        self._branch = branch
        self._measure = measure
        self._shapes = [a.shape for a in inputs]
        self._inputs: Tensors = ()
        self._outputs_before: Tensors = ()  # y_c, or its residual
        self._numbers: dict[str, torch.Tensor] = {}
        last = branch.release()
        if measure is Measure.CHANGES:
            self._numbers["input_norm"] = mean_abs(inputs)
        if last is None or measure is Measure.NOTHING:
            return
        self._outputs_before = last.outputs
        if measure is Measure.CHANGES:
            self._numbers["input_span"] = mean_abs_difference(inputs, last.inputs)

    @property
    def tensors(self) -> list[Tensors]:
        """All that is held until the call is over."""
        return [self._inputs, self._outputs_before]

    def keep_inputs(self, inputs: Tensors) -> Tensors:
        """Hold a copy of x_i, as the forward may write into it; return the copy."""
        self._inputs = snapshot(inputs)
        return self._inputs

    def finish(self, steps: Steps, outputs: Tensors, read: DeviceRead) -> None:
        """The original has returned `outputs`, y_i: measure and keep them.

        Args:
            steps: is told what is measured once that is read.
            outputs: y_i.
            read: reads it later.

        Raises:
            SiteError: the outputs' shapes are not those of the inputs.
        """
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
        if not steps.is_last:
            call = Kept(steps.record.index, self._inputs, outputs, steps.record.timestep)
            # Read before the numbers measured: the error estimate needs what the predictor learns.
            read.later(self._branch.observe(call), self._branch.predictor.learn)
            if by_residual:
                call.inputs = ()
            else:
                kept = snapshot(outputs)
            call.outputs = kept
            self._branch.keep(call)
        read.later(numbers, steps.measured)

    def _measured(self, kept: Tensors) -> dict[str, torch.Tensor]:
        """What `Measured` names; `kept` is y_i, or its residual."""
        found = self._numbers
        if self._measure is Measure.RESIDUAL and self._outputs_before:
            found["residual_ratio"] = magnitude_ratio(kept, self._outputs_before)
        if self._measure is Measure.CHANGES:
            found["output_norm"] = mean_abs(kept)
        if self._measure is Measure.CHANGES and self._outputs_before:
            found["output_span"] = mean_abs_difference(kept, self._outputs_before)
        return found
