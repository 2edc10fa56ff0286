"""Policies against the equations, on numbers only."""

from __future__ import annotations

import itertools
import math

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navicache_cli.cache import EasyCache, NaviCache, Off, make_policy
from navicache_cli.cache.policies.factory import ESTIMATORS, METHODS
from navicache_cli.errors import UsageError

# Relative changes of input and output per step, measured on a 30-step run of an Open-Sora class model.
RECORDED = [
    (0.39731, 0.74653), (0.10389, 0.30851), (0.07942, 0.19042), (0.05988, 0.12702), (0.06, 0.105),
    (0.05, 0.1015), (0.052, 0.0749), (0.047, 0.0771), (0.05, 0.0705), (0.043, 0.0761),
    (0.05, 0.0515), (0.045, 0.0648), (0.05, 0.044), (0.047, 0.0625), (0.053, 0.0493),
    (0.05, 0.063), (0.06, 0.0366), (0.062, 0.0391), (0.061, 0.0592), (0.066, 0.0455),
    (0.07, 0.0434), (0.072, 0.0626), (0.08, 0.0368), (0.085, 0.0391), (0.09, 0.0396),
    (0.1, 0.042), (0.11, 0.055), (0.12, 0.0588), (0.15, 0.108),
]  # fmt: skip

VARIANTS = [("navicache", "scalar"), ("navicache", "dual"), ("easycache", "hold")]
positive = st.floats(0.001, 10.0)


def near(value):
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)


def policy_of(method, estimator, tau, align):
    return make_policy(
        method, threshold=tau, align_steps=align, estimator="scalar" if estimator == "hold" else estimator
    )


def play(policy, gate, steps, changes, spans, norms):
    """Run policy and oracle side by side on recorded changes; spans add up since the last computed step."""
    policy.begin(steps)
    decisions, rows, since = [], [], None
    for i in range(steps):
        dx = None if i == 0 else changes[i - 1]
        decision, row = policy.decide(i, dx), gate.decide(i, dx)
        decisions.append(decision)
        rows.append(row)
        if since is not None:
            since = (since[0] + changes[i - 1], since[1] + spans[i - 1])
        if decision.compute:
            x_span, y_span = since or (None, None)
            row.innovation = gate.measure(i, x_span, y_span, norms[i])
            assert policy.observe(i, x_span, y_span, norms[i]) == near(row.innovation)
            since = (0.0, 0.0)
    return decisions, rows


def assert_same(decisions, rows):
    for decision, row in zip(decisions, rows, strict=True):
        assert (decision.compute, decision.forced) == (row.compute, row.forced)
        assert decision.ratio == near(row.k)
        assert decision.variance == near(row.p)
        assert decision.predicted_change == near(row.change)
        assert decision.accumulated_error == near(row.error)


@pytest.mark.parametrize(("method", "estimator"), VARIANTS)
@pytest.mark.parametrize("tau", [0.0, 0.07, 0.15, 0.35, 0.55])
def test_recorded_run_follows_the_equations(method, estimator, tau):
    changes, spans = zip(*RECORDED, strict=True)
    norms = [1.0 + 0.01 * i for i in range(30)]
    gate = oracle.Gate(tau, 5, 30, estimator)
    decisions, rows = play(policy_of(method, estimator, tau, 5), gate, 30, changes, spans, norms)
    assert_same(decisions, rows)
    skipped = sum(not decision.compute for decision in decisions)
    assert (skipped == 0) == (tau == 0)


def test_the_oracle_can_fail():
    changes, spans = zip(*RECORDED, strict=True)
    gate = oracle.Gate(0.35, 5, 30, "scalar")
    decisions, rows = play(NaviCache(0.15, 5), gate, 30, changes, spans, [1.0] * 30)
    with pytest.raises(AssertionError):
        assert_same(decisions, rows)


def test_estimators_differ_on_the_recorded_run():
    changes, spans = zip(*RECORDED, strict=True)
    runs = []
    for method, estimator in VARIANTS:
        gate = oracle.Gate(0.15, 5, 30, estimator)
        decisions, _ = play(policy_of(method, estimator, 0.15, 5), gate, 30, changes, spans, [1.0] * 30)
        runs.append([decision.predicted_change for decision in decisions])
    assert all(a != b for a, b in itertools.combinations(runs, 2))


@pytest.mark.parametrize(("method", "estimator"), VARIANTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), tau=st.floats(0, 2), align=st.integers(0, 8), steps=st.integers(1, 20))
def test_random_runs_follow_the_equations(method, estimator, data, tau, align, steps):
    numbers = st.lists(positive, min_size=steps, max_size=steps)
    changes, spans, norms = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    gate = oracle.Gate(tau, align, steps, estimator)
    decisions, rows = play(policy_of(method, estimator, tau, align), gate, steps, changes, spans, norms)
    if all(abs(row.error - tau) > 1e-9 for row in rows if not row.forced):
        assert_same(decisions, rows)


@pytest.mark.parametrize(("method", "estimator"), VARIANTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), tau=st.floats(0, 2), align=st.integers(0, 8), steps=st.integers(1, 20))
def test_forced_steps_and_the_error_bound(method, estimator, data, tau, align, steps):
    policy = policy_of(method, estimator, tau, align)
    policy.begin(steps)
    measured = 0
    for i in range(steps):
        decision = policy.decide(i, data.draw(positive) if i else None)
        assert decision.forced == (i < align or i == steps - 1 or measured < 2)
        assert decision.compute or decision.accumulated_error < tau
        assert decision.compute or not decision.forced
        if decision.forced:
            assert decision.accumulated_error == 0
        if decision.compute:
            spans = (None, None) if i == 0 else (data.draw(positive), data.draw(positive))
            policy.observe(i, *spans, data.draw(positive))
            measured += 1


@pytest.mark.parametrize(("method", "estimator"), [("navicache", "scalar"), ("easycache", "hold")])
@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(positive, min_size=4, max_size=25),
    taus=st.tuples(st.floats(0, 20), st.floats(0, 20)),
    ratio=positive,
    align=st.integers(0, 5),
)
def test_larger_threshold_computes_no_more_at_a_constant_ratio(
    method, estimator, changes, taus, ratio, align
):
    def computed(tau):
        policy = policy_of(method, estimator, tau, align)
        policy.begin(len(changes))
        count = 0
        for i, change in enumerate(changes):
            if policy.decide(i, change if i else None).compute:
                policy.observe(i, 1.0 if i else None, ratio if i else None, 1.0)
                count += 1
        return count

    assert computed(max(taus)) <= computed(min(taus))


def test_accumulated_error_starts_afresh_after_a_computed_step():
    policy = EasyCache(0.5, 0)
    policy.begin(10)
    policy.decide(0, None)
    policy.observe(0, None, None, 2.0)
    policy.decide(1, 1.0)
    policy.observe(1, 1.0, 1.0, 2.0)
    errors = []
    for i in range(2, 8):
        decision = policy.decide(i, 0.4)
        errors.append((decision.compute, round(decision.accumulated_error, 6)))
    assert errors == [(False, 0.2), (False, 0.4), (True, 0.6), (False, 0.2), (False, 0.4), (True, 0.6)]


def test_an_error_equal_to_the_threshold_computes():
    policy = EasyCache(0.0, 0)
    policy.begin(10)
    policy.observe(0, None, None, 1.0)
    policy.observe(1, 1.0, 1.0, 1.0)
    decision = policy.decide(2, 0.0)
    assert (decision.compute, decision.forced, decision.accumulated_error) == (True, False, 0.0)


def test_accumulated_error_starts_afresh_after_a_forced_step():
    policy = EasyCache(0.5, 0)
    policy.begin(10)
    policy.observe(0, None, None, 1.0)
    policy.observe(1, 1.0, 1.0, 1.0)
    assert policy.decide(2, 0.4).accumulated_error == pytest.approx(0.4)
    assert policy.decide(3, math.nan).forced
    assert policy.decide(4, 0.4).accumulated_error == pytest.approx(0.4)


def test_zero_alignment_waits_for_a_measurement():
    policy = NaviCache(1e6, 0)
    policy.begin(10)
    assert policy.decide(0, None).forced
    policy.observe(0, None, None, 1.0)
    assert policy.decide(1, 0.1).forced
    assert policy.observe(1, 0.1, 0.2, 1.0) is None
    assert not policy.decide(2, 0.1).compute


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("estimator", ["scalar", "dual"])
def test_numbers_that_are_not_finite_compute_and_do_not_stick(bad, estimator):
    policy = make_policy("navicache", threshold=10.0, align_steps=0, estimator=estimator)
    policy.begin(20)
    policy.observe(0, None, None, 1.0)
    policy.observe(1, 0.1, 0.1, 1.0)
    assert not policy.decide(2, 0.1).compute
    assert policy.decide(3, bad).compute
    assert policy.observe(3, bad, 0.1, 1.0) is None
    assert policy.observe(3, 0.1, bad, 1.0) is None
    policy.observe(3, 0.1, 0.1, bad)
    assert policy.decide(4, 0.1).forced
    policy.observe(4, 0.1, 0.1, 1.0)
    assert not policy.decide(5, 0.1).compute


def test_an_output_of_zeros_computes():
    policy = EasyCache(10.0, 0)
    policy.begin(20)
    policy.observe(0, None, None, 0.0)
    policy.observe(1, 0.1, 0.0, 0.0)
    decision = policy.decide(2, 0.1)
    assert decision.compute
    assert decision.forced
    assert decision.predicted_change is None


def test_begin_forgets():
    policy = NaviCache(1.0, 0)
    policy.begin(10)
    policy.observe(0, None, None, 1.0)
    policy.observe(1, 0.1, 0.2, 1.0)
    policy.observe(2, 0.1, 0.3, 1.0)
    assert policy.decide(3, 0.1).innovation == pytest.approx(1.0)
    policy.begin(10)
    decision = policy.decide(0, None)
    assert (decision.ratio, decision.variance, decision.innovation) == (None, None, None)


def test_off_always_computes_and_learns_nothing():
    policy = Off()
    policy.begin(5)
    assert not policy.caches
    assert all(policy.decide(i, 0.0).compute for i in range(5))
    assert policy.observe(0, 1.0, 1.0, 1.0) is None


def test_factory_knows_every_name():
    for name in METHODS:
        assert make_policy(name, threshold=0.1, align_steps=2).name == name
    for name in ESTIMATORS:
        policy = make_policy("navicache", threshold=0.1, align_steps=2, estimator=name)
        assert policy.estimator.name == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "teacup"}, "teacup"),
        ({"estimator": "triple"}, "triple"),
        ({"threshold": -0.1}, "-0.1"),
        ({"threshold": math.nan}, "nan"),
        ({"threshold": math.inf}, "inf"),
        ({"align_steps": -1}, "-1"),
        ({"align_steps": 2.5}, "2.5"),
        ({"align_steps": True}, "True"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    call = {"name": "navicache", "threshold": 0.1, "align_steps": 5} | arguments
    with pytest.raises(UsageError, match=said) as caught:
        make_policy(call.pop("name"), **call)
    assert caught.value.hint
    if said in ("teacup", "triple"):
        assert ", ".join(METHODS if said == "teacup" else ESTIMATORS) in caught.value.hint
