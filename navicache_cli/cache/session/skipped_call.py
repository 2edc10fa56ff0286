"""A call whose outputs are predicted: the original forward does not run."""

from __future__ import annotations

from navicache_cli.cache.predictors.predictor import Skipped
from navicache_cli.cache.session.steps import Steps
from navicache_cli.cache.tensors import Tensors, snapshot


def predicted_outputs(steps: Steps, inputs: Tensors) -> Tensors | None:
    """Predict what the current call would return; None if it has to be computed.

    Args:
        steps: stands at the step and the branch of the call.
        inputs: x_i.
    """
    record, branch, signal = steps.record, steps.branch, steps.signal
    if record.computed or not steps.branches.can_predict(branch, inputs):
        return None
    fit = steps.pair.fit(branch, steps.names)
    skipped = Skipped(record.index, inputs, record.timestep, steps.gap, fit)
    outputs = branch.predictor.predict(skipped, branch.history)
    if steps.leads and signal.follows_inputs:
        signal.previous = ()  # freed before the copy is made
        signal.previous = snapshot(inputs)
    return outputs
