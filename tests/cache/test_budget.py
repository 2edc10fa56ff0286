"""A budget: kept to whatever the numbers, spent where much changes, refused out of reach."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_forward_site import attached_run, noise

from navicache_cli.cache import Session, make_policy
from navicache_cli.cache.policies.budget import least_computed, most_align_steps
from navicache_cli.errors import UsageError


def on_budget(compute, align=5, method="navicache", estimator="scalar"):
    return make_policy(method, threshold=0.0, align_steps=align, estimator=estimator, compute=compute)


def decisions(policy, changes):
    """Let the policy decide steps whose inputs move by `changes`; a computed one measures a ratio of 1."""
    policy.begin(len(changes))
    made = []
    for index, change in enumerate(changes):
        made.append(policy.decide(index, change if index else None))
        if made[-1].compute:
            policy.observe(index, change if index else None, change if index else None, 1.0)
    return made


def computed(policy, changes):
    return [index for index, made in enumerate(decisions(policy, changes)) if made.compute]


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=80),
    align=st.integers(0, 12),
    share=st.floats(0.01, 1),
    method=st.sampled_from(["navicache", "easycache"]),
)
def test_the_number_of_computed_steps_is_the_one_asked_for(changes, align, share, method):
    steps = len(changes)
    planned = max(1, math.floor(share * steps + 0.5))
    assume(planned >= least_computed(steps, align))
    assert len(computed(on_budget(share, align, method), changes)) == planned


@pytest.mark.parametrize("steps", [20, 30, 50, 100])
@pytest.mark.parametrize("speedup", [1.5, 2.0, 2.5])
def test_no_run_of_skips_is_much_longer_than_the_others(steps, speedup):
    policy = on_budget(1 / speedup, most_align_steps(steps, 1 / speedup))
    gaps = [b - a for a, b in pairwise(computed(policy, [0.02] * steps))]
    assert max(gaps) <= 2 * speedup + 1


def test_the_last_steps_are_computed_and_the_first_runs_short():
    chosen = computed(on_budget(0.4), [0.02] * 50)
    assert chosen[-2:] == [48, 49]
    gaps = [b - a for a, b in pairwise(chosen)]
    assert max(gaps[:6]) <= 2 < max(gaps)


@pytest.mark.parametrize(
    ("steps", "share", "most"),
    [(50, 1.0, 5), (50, 0.5, 5), (50, 0.4, 3), (30, 0.5, 3), (20, 0.4, 2), (4, 0.1, 2)],
)
def test_alignment_takes_no_more_than_a_quarter(steps, share, most):
    assert most_align_steps(steps, share) == most


def test_it_computes_where_much_changes():
    def within(changes):
        return sum(20 <= index < 32 for index in computed(on_budget(0.5), changes))

    assert within([1.0] * 20 + [6.0] * 12 + [1.0] * 18) > within([1.0] * 50)


def test_it_spreads_errors_less_towards_busy_steps_than_a_fixed_threshold():
    changes = ([8.0] * 10 + [1.0] * 10) * 6

    def busy_and_calm(chosen):
        return sum(changes[index] == 8 for index in chosen), sum(changes[index] == 1 for index in chosen)

    busy, calm = busy_and_calm(computed(on_budget(0.4, align=2), changes))
    fixed = [computed(make_policy("navicache", threshold=t / 2, align_steps=2), changes) for t in range(80)]
    alike = min(fixed, key=lambda chosen: abs(len(chosen) - busy - calm))
    busy_when_fixed, calm_when_fixed = busy_and_calm(alike)
    assert calm < busy < busy_when_fixed
    assert calm > calm_when_fixed


def test_its_thresholds_stay_near_the_fixed_one_that_computes_as_many():
    # As outputs of rectified flow change: evenly in log-SNR.
    places = [math.log(max(i, 0.5) / (50 - max(i, 0.5))) for i in range(50)]
    changes = [0.0, *(0.16 * (b - a) for a, b in pairwise(places))]
    made = decisions(on_budget(0.5), changes)
    count = sum(one.compute for one in made)

    def fixed(threshold):
        policy = make_policy("navicache", threshold=threshold, align_steps=5)
        return sum(one.compute for one in decisions(policy, changes))

    alike = [t / 1000 for t in range(1, 400) if abs(fixed(t / 1000) - count) <= 1]
    thresholds = [one.threshold for one in made[5:-8]]
    assert all(0.5 * alike[0] < t < 2 * alike[-1] for t in thresholds)


def test_every_decision_says_its_threshold():
    made = decisions(on_budget(0.5), [0.1] * 20)
    assert [one.threshold is None for one in made] == [one.forced for one in made]
    fixed = decisions(make_policy("navicache", threshold=0.15, align_steps=5), [0.1] * 20)
    assert {one.threshold for one in fixed} == {None, 0.15}


def test_a_policy_starts_afresh_for_every_generation():
    policy, changes = on_budget(0.5), [0.1 + 0.01 * i for i in range(30)]
    assert computed(policy, changes) == computed(policy, changes)


@pytest.mark.parametrize("estimator", ["scalar", "dual"])
@pytest.mark.parametrize("share", [0.4, 0.5, 2 / 3, 1.0])
def test_a_session_keeps_to_it(estimator, share):
    session = Session(on_budget(share, 3, estimator=estimator), 24)
    attached_run(session, noise(), steps=24, branches=2)
    assert sum(record.computed for record in session.records) == math.floor(24 * share + 0.5)


def test_steps_that_cannot_be_predicted_are_paid_for():
    changes = [0.1] * 30
    changes[12:15] = [math.nan] * 3
    chosen = computed(on_budget(0.5), changes)
    assert {12, 13, 14} < set(chosen)
    assert len(chosen) == 15


@pytest.mark.parametrize(
    ("share", "align", "told"),
    [
        (0.1, 5, "0.12 to 1, a speedup of 1 to 8.33; found 0.1, a speedup of 10"),
        (0.2, 10, "0.22 to 1, a speedup of 1 to 4.55; found 0.2, a speedup of 5"),
    ],
)
def test_beyond_reach_is_refused_with_the_range(share, align, told):
    with pytest.raises(UsageError) as caught:
        on_budget(share, align).begin(50)
    assert told in caught.value.message
    assert "align_steps" in caught.value.hint


@pytest.mark.parametrize("share", [-0.5, 1.5, math.nan])
def test_shares_that_are_none(share):
    with pytest.raises(UsageError, match="share of steps"):
        on_budget(share)


def flow_times(steps, shift):
    return [shift * u / (1 + (shift - 1) * u) for u in (1 - i / steps for i in range(steps))]


def strip_at(shift, steps=50, share=0.4):
    """What is computed where outputs change evenly in λ, at a sampler's shift."""
    policy, chosen = on_budget(share, 3), []
    places = [math.log(max(i, 0.5) / (steps - i)) for i in range(steps)]
    policy.begin(steps)
    last = 0
    for index, time in enumerate(flow_times(steps, shift)):
        policy.timestep = time
        made = policy.decide(index, 0.02 if index else None)
        if made.compute:
            span = places[index] - places[last] if index else None
            policy.observe(index, 0.02 if index else None, span, 1.0)
            last = index
            chosen.append(index)
    return chosen


def test_the_shift_of_the_sampler_says_where_its_large_steps_are():
    early, late = (sum(index < 25 for index in strip_at(shift)) for shift in (0.25, 4.0))
    assert early > late


def test_what_is_missed_counts_where_it_is_known():
    """A prediction that has become worse than what the output changes by is computed more often."""
    policy, chosen = on_budget(0.5, 3), []
    policy.begin(50)
    for index in range(50):
        if policy.decide(index, 0.02 if index else None).compute:
            policy.observe(index, 0.02 if index else None, 0.02 if index else None, 1.0)
            policy.missed(0.08 if 20 <= index < 32 else 0.02, 0.02, 1.0)
            chosen.append(index)
    calm = [index for index, made in enumerate(decisions(on_budget(0.5, 3), [0.02] * 50)) if made.compute]
    assert sum(20 <= index < 32 for index in chosen) > sum(20 <= index < 32 for index in calm)
