"""The calibrated predictor: against its equations, on signals made to mislead it, and what it keeps."""

from __future__ import annotations

import math
from functools import partial

import predictor_oracle
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toys import Tiny, combine, plain_model, sample, timesteps

from navicache_cli.cache import Calibrated, Decision, ForwardSite, Session, attach
from navicache_cli.cache.policies.policy import Measure, PredictorSpec, Region, Signal
from navicache_cli.cache.predictors.factory import make_predictor
from navicache_cli.cache.predictors.trend import Products, TrendFilter
from navicache_cli.errors import UsageError


class Chosen:
    """Computes the steps it is told to."""

    name, caches, region, signal = "chosen", True, Region.OWN, Signal.INPUT
    measures, predictor = Measure.CHANGES, PredictorSpec("residual")

    def __init__(self, computes):
        self.computes = frozenset(computes)

    def begin(self, total_steps):
        pass

    def decide(self, index, signal):
        return Decision(compute=index in self.computes)

    def observe(self, index, input_span, output_span, output_norm):
        return None


def noise(seed=0, size=24):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


EVERY_THIRD = {0, 1, 2, 3, 6, 9, 12, 15, 17}


def generated(computes, steps, branches=1, seed=0, predictor="calibrated"):
    session, model = Session(Chosen(computes), steps, partial(make_predictor, predictor)), Tiny()
    with attach(ForwardSite(model), session):
        final, outputs = sample(model, noise(seed), timesteps(steps), branches)
    return session, final, outputs


def assert_like_twin(computes, steps, branches, seed):
    final, outputs, twins = predictor_oracle.generate(
        plain_model, noise(seed).tolist(), timesteps(steps), combine, branches, computes
    )
    if any(twin.margin <= 1e-3 for twin in twins):
        return None  # float32 must not be the judge
    session, mine, all_mine = generated(computes, steps, branches, seed)
    assert [record.computed for record in session.records] == [i in computes for i in range(steps)]
    for y, twin_y in zip(all_mine, outputs, strict=True):
        assert y.tolist() == pytest.approx(twin_y, abs=2e-4)
    assert mine.tolist() == pytest.approx(final, abs=2e-4)
    return session, twins


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_outputs_follow_the_equations(branches):
    compared = assert_like_twin(EVERY_THIRD, 18, branches, seed=0)
    assert compared is not None
    session, twins = compared
    # Of the last step there is nothing to learn any more.
    assert session.records[-1].fit.trend == pytest.approx(before_last(twins[0]), abs=2e-3)
    assert any(record.fit.used and not record.computed for record in session.records)
    assert any(record.fit.corrects and not record.computed for record in session.records)


def before_last(twin):
    twin.compared.pop()
    return twin.coefficient()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    chosen=st.sets(st.integers(2, 14), min_size=1),
    branches=st.integers(1, 2),
)
def test_random_schedules_follow_the_equations(seed, chosen, branches):
    assume(assert_like_twin({0, 1, *chosen}, 16, branches, seed) is not None)


def test_it_is_nearer_than_holding_and_reuse():
    full = generated(range(24), 24)[1]
    computes = {0, 1, 2, 3, *range(3, 24, 3), 23}
    errors = {
        name: (generated(computes, 24, predictor=name)[1] - full).norm().item()
        for name in ("calibrated", "hold", "residual")
    }
    assert errors["calibrated"] < 0.5 * min(errors["hold"], errors["residual"])


def seen(signal, steps):
    """What a filter knows that saw the outputs of `steps`, all computed, of a signal of vectors."""
    trend = TrendFilter()
    for p, c, i in zip(steps, steps[1:], steps[2:], strict=False):
        s, t = signal(c) - signal(p), signal(i) - signal(c)
        products = (float(s @ s), float(s @ t), float(t @ t))
        trend.observe(Products(*products, (i - c) / (c - p), (c - p) / (i - p)))
    return trend.fit


def test_a_line_is_followed():
    direction = noise(1)
    fit = seen(lambda i: i * direction, [0, 1, 2, 4, 5, 8, 9, 12])
    assert fit.trend == pytest.approx(1)
    assert fit.used
    assert fit.corrects
    assert fit.record < 1e-3
    assert fit.deviation < 1e-3


def test_jitter_does_not_pass_for_a_want_of_trend():
    slope, jitter = noise(1, 4000), [0.5 * noise(9 + i, 4000) for i in range(40)]
    fit = seen(lambda i: i * slope + jitter[i], range(40))
    moments = [
        ((a := slope + jitter[i + 1] - jitter[i]) @ (slope + jitter[i + 2] - jitter[i + 1]), a @ a)
        for i in range(30, 38)
    ]
    plain = sum(float(st) for st, _ in moments) / sum(float(ss) for _, ss in moments)
    assert plain < 0.6
    assert fit.trend == pytest.approx(1, abs=0.05)


def test_jitter_alone_is_no_trend():
    fit = seen(lambda i: noise(i, 4000), range(40))
    assert not fit.used
    assert not fit.corrects


@pytest.mark.parametrize(
    "surprise", [(1.0, 0.0, 4.0), (1.0, math.nan, 1.0), (math.inf, 0.0, math.inf), (1.0, 0.0, 0.0)]
)
def test_one_surprise_is_enough_to_hold(surprise):
    trend = TrendFilter()
    for _ in range(8):
        trend.observe(Products(1.0, 1.0, 1.0, 1.0, 0.5))
    assert trend.fit.used
    trend.observe(Products(*surprise, 1.0, 0.5))
    assert not trend.fit.used
    assert math.isfinite(trend.fit.trend)


def outputs_of(signal, steps):
    """What the model gives at each step, whatever its input."""
    generator = torch.Generator().manual_seed(3)
    base, other = torch.randn(2, 256, generator=generator)
    if signal == "independent":
        return [torch.randn(256, generator=generator) for _ in range(steps)]
    if signal == "alternating":
        return [base + 0.3 * (-1) ** i * other for i in range(steps)]
    if signal == "jump":
        return [base * (1 + 0.01 * i) if i < steps // 2 else other * (1 + 0.01 * i) for i in range(steps)]
    if signal == "walk":
        walk = 0.05 * torch.randn(steps, 256, generator=generator).cumsum(0)
        return list(base + walk)
    return [base] * steps  # constant


class Given(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.at = outputs, {}

    def forward(self, x, t):
        return self.outputs[self.at[round(float(t), 6)]].clone()


@pytest.mark.parametrize("signal", ["independent", "alternating", "jump", "walk", "constant"])
@pytest.mark.parametrize("gap", [2, 3, 5])
def test_it_does_no_harm(signal, gap):
    steps = 40
    truth, schedule = outputs_of(signal, steps), timesteps(steps)
    errors = {}
    for name in ("calibrated", "hold"):
        model = Given(truth)
        model.at = {round(float(torch.tensor(t)), 6): i for i, t in enumerate(schedule)}
        session = Session(
            Chosen({*range(5), *range(5, steps, gap), steps - 1}), steps, partial(make_predictor, name)
        )
        with attach(ForwardSite(model), session):
            x, total, size = torch.randn(256, generator=torch.Generator().manual_seed(4)), 0.0, 0.0
            for i, t in enumerate(schedule):
                y = model(x, torch.tensor(t))
                total += (y - truth[i]).square().sum().item()
                size += truth[i].square().sum().item()
                x = x - 0.02 * y
        errors[name] = math.sqrt(total / size)
    assert errors["calibrated"] <= errors["hold"] + 0.02


def test_what_is_kept_and_that_nothing_stays():
    session, model = Session(Chosen(EVERY_THIRD), 18, Calibrated), Tiny()
    size, most = 24 * 4, 0
    with attach(ForwardSite(model), session):
        for t in timesteps(18):
            for b in range(2):
                model(noise() * (1 + t), t, context=b)
            assert session.cache_bytes % size == 0
            most = max(most, session.cache_bytes // size)
    # Two branches of x, y, an older output, the error and the sum of predictions; and the last step's x.
    assert most == 2 * 5 + 1
    assert session.cache_bytes == 0


def test_a_second_generation_starts_with_nothing_learned():
    session, model = Session(Chosen(EVERY_THIRD), 18, Calibrated), Tiny()
    with attach(ForwardSite(model), session):
        first = sample(model, noise(), timesteps(18))[0]
        second = sample(model, noise(), timesteps(18))[0]
    assert torch.equal(first, second)


def test_half_precision_stays_half():
    session, model = Session(Chosen(EVERY_THIRD), 18, Calibrated), Tiny()
    with attach(ForwardSite(model), session):
        _, outputs = sample(model, noise().half(), timesteps(18))
    assert {y.dtype for y in outputs} == {torch.float16}
    assert all(y.isfinite().all() for y in outputs)


def test_unknown_predictors_are_named():
    with pytest.raises(UsageError, match="unknown predictor 'kalman'"):
        make_predictor("kalman")


def test_the_first_process_decides_for_all():
    told = []

    def speak(numbers):
        told.append(numbers.clone())

    def listen(numbers):
        numbers.copy_(told.pop(0))

    fits = []
    for seed, agree in ((0, speak), (1, listen)):
        session, model = Session(Chosen(EVERY_THIRD), 18, Calibrated, agree=agree), Tiny()
        with attach(ForwardSite(model), session):
            sample(model, noise(seed), timesteps(18), 2)
        fits.append([record.fit for record in session.records])
    assert fits[0] == fits[1]
    assert fits[0][10].record
    assert not told
