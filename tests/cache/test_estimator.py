from __future__ import annotations

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gate import RECORDED

from navicache_cli.cache import DualKalman, ScalarKalman, ZeroOrderHold

PAIRS = [(ZeroOrderHold, "hold"), (ScalarKalman, "scalar"), (DualKalman, "dual")]


def one_step_error(estimator, ratios):
    estimator.reset(len(ratios) + 1, 5)
    errors = []
    for index, z in enumerate(ratios, start=1):
        if index >= 6:
            errors.append(abs(estimator.ratio_at(index) - z) / z)
        estimator.measure(z, index)
    return sum(errors) / len(errors)


@pytest.mark.parametrize(("make", "name"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(1, 6), st.floats(0, 50)), min_size=1, max_size=12),
    align=st.integers(0, 6),
)
def test_filters_follow_the_equations(make, name, gaps, align):
    steps = 1 + sum(gap for gap, _ in gaps)
    estimator, twin = make(), oracle.FILTERS[name](steps, align)
    estimator.reset(steps, align)
    index = 0
    for gap, z in gaps:
        index += gap
        before, _ = twin.at(index)
        innovation = estimator.measure(z, index)
        assert innovation == (None if before is None else pytest.approx(z - before, rel=1e-6, abs=1e-6))
        twin.absorb(z, index)
        for later in (index, index + 1, index + 4):
            k, p = twin.at(later)
            assert estimator.ratio_at(later) == pytest.approx(k, rel=1e-6)
            assert estimator.variance_at(later) == (None if p is None else pytest.approx(p, rel=1e-6))


@pytest.mark.parametrize(("make", "name"), PAIRS)
def test_reset_forgets(make, name):
    estimator = make()
    assert estimator.ratio_at(3) is None
    estimator.reset(10, 0)
    estimator.measure(2.0, 1)
    estimator.measure(3.0, 2)
    estimator.reset(10, 0)
    assert estimator.ratio_at(3) is None
    assert estimator.variance_at(3) is None
    assert estimator.measure(2.0, 1) is None


def test_dual_follows_a_drift_that_the_scalar_lags_behind():
    ratios = [4.0 * 0.9**i for i in range(24)]
    assert one_step_error(DualKalman(), ratios) < 0.5 * one_step_error(ScalarKalman(), ratios)


def test_dual_predicts_the_recorded_run_best():
    ratios = [output / change for change, output in RECORDED]
    errors = [one_step_error(make(), ratios) for make in (DualKalman, ScalarKalman, ZeroOrderHold)]
    assert errors == sorted(errors)


def test_dual_uncertainty_grows_with_the_gap_and_the_noise_with_progress():
    dual = DualKalman()
    dual.reset(20, 5)
    for index in range(1, 6):
        dual.measure(2.0 - 0.1 * index, index)
    variances = [dual.variance_at(index) for index in range(5, 12)]
    assert variances == sorted(variances)
    assert dual.noise_at(0) == dual.early_noise
    assert dual.noise_at(20) == pytest.approx(dual.late_noise)


def test_dual_survives_ratios_of_zero_and_of_absurd_size():
    dual = DualKalman()
    dual.reset(50, 0)
    dual.measure(0.0, 1)
    assert 0 < dual.ratio_at(2) < 1e-5
    dual.measure(1e300, 2)
    dual.measure(1e308, 3)
    assert dual.ratio_at(49) < float("inf")
