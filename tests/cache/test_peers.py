"""The other papers' methods decide as their published code does: on random numbers and on recorded ones."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from pathlib import Path

import peer_oracles as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navicache_cli.cache import (
    METHODS,
    FirstBlockCache,
    MagCache,
    Measure,
    PyramidAttentionBroadcast,
    Region,
    Signal,
    TaylorSeer,
    TeaCache,
    make_policy,
    make_predictor,
)
from navicache_cli.cache.policies.magcache import MeasureRatios, nearest
from navicache_cli.cache.predictors.taylor import taylor_weights
from navicache_cli.errors import UsageError

ROOT = Path(__file__).parents[2]
MEASURED = ROOT.parent / "shared/data/feature_change.csv"
SHIPPED = sorted((ROOT / "presets").glob("magcache-*.json"))
# As published: HunyuanVideo, Open-Sora, Wan2.1-T2V-1.3B with retention steps.
POLYNOMIALS = [
    (7.33226126e02, -4.01131952e02, 6.75869174e01, -3.14987800e00, 9.61237896e-02),
    (2.17546007e02, -1.18329252e02, 2.68662585e01, -4.59364272e-02, 4.84426240e-02),
    (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02),
    (1.0, 0.0),
]
fractions = st.floats(0, 0.4)
step_counts = st.integers(2, 60)


def decisions(policy, signals):
    """Whether each step is computed."""
    policy.begin(len(signals))
    return [policy.decide(i, signal).compute for i, signal in enumerate(signals)]


@given(st.lists(fractions, min_size=3, max_size=60), st.sampled_from(POLYNOMIALS), st.floats(0, 1))
def test_teacache_on_random_changes(changes, coefficients, threshold):
    signals = [None, *changes]
    retained = decisions(TeaCache(threshold, 5, coefficients), signals)
    assert retained == oracles.teacache([0.0, *changes], coefficients, threshold, first=5, last=0)
    ends = decisions(TeaCache(threshold, 1, coefficients), signals)
    assert ends == oracles.teacache([0.0, *changes], coefficients, threshold, first=1, last=1)


@pytest.mark.skipif(not MEASURED.is_file(), reason=f"put the measured changes at {MEASURED}")
@pytest.mark.parametrize("coefficients", POLYNOMIALS)
def test_teacache_on_recorded_changes(coefficients):
    runs = defaultdict(list)
    with MEASURED.open() as file:
        for row in csv.DictReader(file):
            runs[row["prompt"]].append(float(row["input_rel_l1"]))
    assert len(runs) > 3
    kinds = set()
    for changes in runs.values():
        for threshold in (0.1, 0.2, 0.4):
            expected = oracles.teacache([0.0, *changes], coefficients, threshold, first=1, last=1)
            assert decisions(TeaCache(threshold, 1, coefficients), [None, *changes]) == expected
            kinds |= set(expected)
    assert kinds == {True, False}


def test_teacache_reports_why():
    policy = TeaCache(0.5, 1, (2.0, 0.1))
    policy.begin(5)
    assert policy.decide(0, None).forced
    skipped = policy.decide(1, 0.1)
    assert not skipped.compute
    assert skipped.predicted_change == skipped.accumulated_error == pytest.approx(0.3)
    computed = policy.decide(2, 0.1)
    assert computed.compute
    assert not computed.forced
    assert computed.accumulated_error == pytest.approx(0.6)
    assert policy.decide(3, 0.1).accumulated_error == pytest.approx(0.3)
    assert policy.decide(4, 0.0).forced, "the last step"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_computes(bad):
    # With a negative leading coefficient an infinite change would rescale to minus infinity.
    for policy in (TeaCache(9.0, 1, (-1.0, 1.0, 0.0)), FirstBlockCache(9.0)):
        policy.begin(6)
        policy.decide(0, None)
        assert not policy.decide(1, 0.1).compute
        assert policy.decide(2, bad).compute
        assert not policy.decide(3, 0.1).compute


@given(
    st.lists(st.floats(0.7, 1.3), min_size=1, max_size=60), step_counts, st.floats(0, 1), st.integers(0, 6)
)
def test_magcache_on_random_ratios(ratios, steps, threshold, most_skips):
    policy = MagCache(threshold, ratios, most_skips, retention=0.2)
    expected = oracles.magcache(ratios, steps, threshold, most_skips, 0.2)
    # The published code would reuse a residual that it does not have at the first of few steps.
    expected[0] = True
    if steps >= 5:
        assert decisions(policy, [None] * steps) == expected
    assert policy.decide(0, None).forced


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("steps", [10, 25, 30, 40, 50, 77])
def test_magcache_on_recorded_ratios(path, steps):
    ratios = json.loads(path.read_text("utf-8"))["ratios"]
    for threshold, most_skips in [(0.02, 3), (0.12, 2), (0.12, 4), (0.24, 6)]:
        expected = oracles.magcache(ratios, steps, threshold, most_skips, 0.2)
        assert decisions(MagCache(threshold, ratios, most_skips), [None] * steps) == expected
    assert False in expected


@given(st.integers(1, 200), step_counts)
def test_nearest_interpolation(count, steps):
    values = [float(i) for i in range(1, count + 1)]
    assert nearest(values, steps) == oracles.interpolated(values, steps)


def test_ratios_are_needed_when_a_generation_starts():
    with pytest.raises(UsageError, match="magnitude ratios") as caught:
        MagCache(0.1).begin(50)
    assert "MeasureRatios" in caught.value.hint
    for bad in ([1.0, math.nan], [0.0], [-1.0]):
        with pytest.raises(UsageError, match="above 0"):
            MagCache(0.1, bad)


@given(step_counts, st.integers(1, 9), st.integers(1, 9))
def test_taylorseer_steps(steps, interval, first):
    policy = TaylorSeer(first, interval, 1)
    assert decisions(policy, [None] * steps) == oracles.taylorseer(steps, interval, first)


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.integers(1, 6),
    st.lists(st.floats(-3, 3), min_size=6, max_size=6),
)
def test_taylor_weights_are_those_of_the_recursion(gaps, ahead, values):
    steps = [sum(gaps[:k]) for k in range(len(gaps) + 1)]
    for order in range(4):
        factors = oracles.TaylorFactors(order)
        for step, value in zip(steps, values, strict=False):
            factors.update(step, value)
        used = list(zip(steps, values, strict=False))[::-1][: order + 1]
        weights = taylor_weights([step for step, _ in used], steps[-1] + ahead)
        predicted = sum(w * value for w, (_, value) in zip(weights, used, strict=True))
        assert predicted == pytest.approx(factors.predict(steps[-1] + ahead), rel=1e-6, abs=1e-6)


def test_taylor_series_of_low_order_are_known_ones():
    assert taylor_weights([7], 9) == [1.0]
    assert taylor_weights([7, 4], 9) == pytest.approx([1 + 2 / 3, -2 / 3])
    # Exact on what the order can express: a straight line.
    line = sum(w * (3 * s + 1) for w, s in zip(taylor_weights([7, 4], 9), (7, 4), strict=True))
    assert line == pytest.approx(28)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=40), st.integers(1, 7), st.integers(1, 7))
def test_pab_on_random_timesteps(timesteps, often, seldom):
    ranges, window = {"spatial": often, "cross": seldom}, (450, 930)
    policy = PyramidAttentionBroadcast(ranges, window)
    policy.begin(len(timesteps))
    made = [policy.decide(i, t) for i, t in enumerate(timesteps)]
    assert all(decision.compute for decision in made)
    assert [d.reuse for d in made] == oracles.pab(len(timesteps), timesteps, ranges, window)


@given(st.lists(fractions, min_size=1, max_size=40), st.floats(0, 0.4), st.integers(0, 6))
def test_fbcache_compares_each_step_alone(changes, threshold, first):
    made = decisions(FirstBlockCache(threshold, first), [None, *changes])
    expected = [True] + [i < first or not c < threshold for i, c in enumerate(changes, start=1)]
    assert made == expected


def test_zero_skips_nothing():
    for policy in (
        TeaCache(0, 0, (1.0, 0.0)),
        MagCache(0, [1.0] * 9),
        FirstBlockCache(0),
        TaylorSeer(1, 1, 2),
        MeasureRatios(),
    ):
        assert all(decisions(policy, [None, *[0.0] * 8]))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("teacache", {"coefficients": [math.nan]}, "finite coefficients"),
        ("teacache", {"coefficients": []}, "finite coefficients"),
        ("teacache", {"interval": 3}, "coefficients.*found 'interval'"),
        ("navicache", {"order": 1}, "it has none"),
        ("magcache", {"retention": 1.5}, "retention between 0 and 1"),
        ("magcache", {"max_skips": -1}, "max_skips"),
        ("taylorseer", {"interval": 0}, "interval"),
        ("taylorseer", {"order": -1}, "order"),
        ("pab", {"broadcast": {"self": 0}}, "range of self"),
        ("pab", {"window": (800, 100)}, "lower to a higher"),
    ],
)
def test_bad_settings_are_named(name, settings, said):
    with pytest.raises(UsageError, match=said) as caught:
        make_policy(name, threshold=0.1, align_steps=1, **settings)
    assert caught.value.hint


@pytest.mark.parametrize("method", METHODS)
def test_every_method_states_where_it_works_and_what_predicts(method):
    settings = {"ratios": [1.0]} if method == "magcache" else {}
    policy = make_policy(method, threshold=0.1, align_steps=1, **settings)
    assert (type(policy.region), type(policy.signal), type(policy.measures)) == (Region, Signal, Measure)
    assert make_predictor(policy.predictor.name, **policy.predictor.settings).name == policy.predictor.name
