"""Holds a real run against the equations: what went through the transformer, and the records of it."""

from __future__ import annotations

import pytest

from tests.cache import oracle


def distance(a, b):
    return (a.double() - b.double()).abs().mean().item()


def decisions_of_the_oracle(plan, calls, records):
    """Which steps the equations compute, given x and y of the first branch at every step.

    Also checks the accumulated error of every record, and that no decision hung on the precision of float32.
    """
    gate = oracle.Gate(plan.threshold, plan.align_steps, plan.steps, plan.estimator)
    previous, kept, decisions = None, None, []
    for index, ((x, y), record) in enumerate(zip(calls, records, strict=True)):
        row = gate.decide(index, distance(x, previous) if index else None)
        previous = x
        assert row.forced or abs(row.error / plan.threshold - 1) > 1e-4, "float32 must not be the judge"
        decisions.append(row.compute)
        assert record.accumulated_error == pytest.approx(row.error, rel=1e-3)
        if row.compute:
            spans = (distance(x, kept[0]), distance(y, kept[1])) if kept else (None, None)
            gate.measure(index, *spans, y.double().abs().mean().item())
            kept = x, y
    return decisions
