"""The error bar: against its equations in plain Python, its bound, and where no error can be predicted."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import norm, span
from test_calibrated import EVERY_THIRD, Chosen
from test_forward_site import noise, session_of
from toys import Stack, Tiny, combine, sample, timesteps

from navicache_cli.cache import (
    Decision,
    ForwardSite,
    HoldOutput,
    Session,
    StackSite,
    TaylorSeries,
    attach,
    make_policy,
)
from navicache_cli.cache.policies.policy import Measured
from navicache_cli.cache.predictors.factory import make_predictor
from navicache_cli.cache.session.error_estimate import SCALES, ErrorEstimate
from navicache_cli.errors import SiteError, UsageError

STEPS = 18
PREDICTORS = ("residual", "hold", "calibrated")


def generated(session, steps=STEPS, branches=2, seed=0):
    """Inputs, first outputs and final latents of a generation, as lists of floats."""
    x, xs, ys = noise(seed), [], []
    with attach(ForwardSite(model := Tiny()), session):
        for t, after in zip(timesteps(steps), [*timesteps(steps)[1:], 0.0], strict=True):
            outputs = [model(x, torch.tensor(t), context=b) for b in range(branches)]
            xs.append(x.tolist())
            ys.append(outputs[0].tolist())
            x = x + (after - t) * combine(outputs)
    return xs, ys, x.tolist()


def predicted(xs, ys, records, predictor):
    """The equations of docs/predictors.md, all worked out from what was seen: no running sums."""
    computed = [record.index for record in records if record.computed]
    wrong = 0.0
    for c, i in pairwise(computed):
        change = span(ys[i], ys[c])
        q = 1.0
        if predictor == "residual":
            q = math.hypot(1.0, span(xs[i], xs[c]) / change)
        if predictor == "calibrated":
            fit = records[min(i + 1, len(records) - 1)].fit
            q = fit.record if fit.used else 1.0
        t_c, t_i = records[c].timestep, records[i].timestep
        moved = sum(
            (records[j].timestep - t_c) / (t_i - t_c) * span(xs[j + 1], xs[j]) for j in range(c + 1, i)
        )
        noise = t_c / records[0].timestep
        grown = 8 if noise == 1 else min(8, max(1, (0.28 / (1 - noise)) ** 0.8))
        wrong += grown * q * change / norm(ys[c]) * moved
    return SCALES[predictor].factor * wrong / norm(xs[-1])


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_it_follows_the_equations(predictor):
    session = Session(Chosen(EVERY_THIRD), STEPS, partial(make_predictor, predictor))
    xs, ys, _ = generated(session)
    bar = session.error_estimate.error_bar
    assert bar.error == pytest.approx(predicted(xs, ys, session.records, predictor), rel=1e-3)
    width = math.exp(1.645 * SCALES[predictor].spread)
    assert (bar.low, bar.high) == (pytest.approx(bar.error / width), pytest.approx(bar.error * width))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tau=st.floats(0.02, 2),
    predictor=st.sampled_from(PREDICTORS),
    branches=st.integers(1, 2),
)
def test_random_generations_follow_the_equations(seed, tau, predictor, branches):
    session = session_of(tau=tau, steps=STEPS, predictor=partial(make_predictor, predictor))
    xs, ys, _ = generated(session, branches=branches, seed=seed)
    expected = predicted(xs, ys, session.records, predictor)
    assert session.error_estimate.error == pytest.approx(expected, rel=2e-3, abs=1e-6)
    assert all(math.isfinite(record.predicted_error) for record in session.records)
    assert session.records[0].predicted_error == 0


def test_it_ranks_generations_by_their_error():
    """Of one noise by ever more skips; the toy is nothing the scales were measured on."""
    full = torch.tensor(generated(session_of("off", steps=24), 24)[2])
    errors, bars = [], []
    for tau in (0.02, 0.1, 0.3, 1.0):
        session = session_of(tau=tau, steps=24, predictor=HoldOutput)
        final = torch.tensor(generated(session, 24)[2])
        errors.append(((final - full).abs().mean() / full.abs().mean()).item())
        bars.append(session.error_estimate.error)
    assert errors == sorted(errors)
    assert bars == sorted(bars)


def test_nothing_skipped_is_no_error():
    for session in (session_of("off"), session_of(tau=0.0)):
        generated(session, 12)
        assert session.error_estimate.error_bar == type(session.error_estimate.error_bar)(0.0, 0.0, 0.0)
        assert not any(record.decision.stopped for record in session.records)


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_bound_far_away_changes_nothing(predictor):
    free = session_of(tau=0.5, steps=STEPS, predictor=partial(make_predictor, predictor))
    bound = session_of(tau=0.5, steps=STEPS, predictor=partial(make_predictor, predictor), max_error=1e9)
    assert generated(free)[2] == generated(bound)[2]
    assert free.transformer_calls_saved == bound.transformer_calls_saved > 0


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_bound_next_to_zero_computes_everything(predictor):
    session = session_of(tau=0.5, steps=STEPS, predictor=partial(make_predictor, predictor), max_error=1e-9)
    final = generated(session)[2]
    assert final == generated(session_of("off", steps=STEPS))[2]
    assert all(record.computed for record in session.records)
    assert sum(record.decision.stopped for record in session.records) > 0
    assert session.error_estimate.error == 0


def test_a_bound_ends_skipping_for_good():
    free = session_of(tau=0.5, steps=STEPS, predictor=HoldOutput)
    generated(free)
    limit = 0.5 * free.error_estimate.error
    session = session_of(tau=0.5, steps=STEPS, predictor=HoldOutput, max_error=limit)
    generated(session)
    skipped = [record.index for record in session.records if not record.computed]
    stopped = [record.index for record in session.records if record.decision.stopped]
    assert skipped, "the bound leaves room for some"
    assert stopped
    assert max(skipped) < min(stopped)
    assert all(record.predicted_error <= limit for record in session.records if not record.computed)
    # Before the bound is reached all is as without it.
    before = [
        (r.computed, r.decision.ratio, r.decision.accumulated_error) for r in session.records[: min(stopped)]
    ]
    assert before == [
        (r.computed, r.decision.ratio, r.decision.accumulated_error) for r in free.records[: min(stopped)]
    ]


def test_a_bound_and_a_budget_go_together():
    policy = make_policy("navicache", threshold=0.0, align_steps=2, compute=0.5)
    session = Session(policy, STEPS, HoldOutput, max_error=1e-9)
    generated(session)
    assert all(record.computed for record in session.records)


def test_a_second_generation_starts_with_no_error():
    session = session_of(tau=0.5, predictor=HoldOutput, max_error=1e-9)
    with attach(ForwardSite(model := Tiny()), session):
        sample(model, noise(), timesteps(12))
        first = [(record.computed, record.decision.stopped) for record in session.records]
        sample(model, noise(), timesteps(12))
    assert [(record.computed, record.decision.stopped) for record in session.records] == first
    assert session.error_estimate.error == 0


def test_hidden_states_are_no_latents():
    model = Stack()
    for tau, expected in ((0.0, 0.0), (5.0, None)):
        session = session_of(tau=tau, steps=8)
        with attach(StackSite(model, model.in_order(), hidden="hidden"), session):
            x = noise(0, 48).reshape(2, 4, 6)
            for t in timesteps(8):
                x = x - 0.05 * model(x, torch.tensor(t))[..., :6]
        assert session.error_estimate.error == expected
        assert (session.transformer_calls_saved > 0) == (tau > 0)


@pytest.mark.parametrize("change", [math.nan, math.inf, None])
def test_what_cannot_be_predicted_is_not_skipped_under_a_bound(change):
    for limit in (None, 1.0):
        error_estimate = ErrorEstimate("hold", limit)
        error_estimate.computed(1.0, Measured(output_norm=1.0, input_norm=1.0), None)
        error_estimate.step(0.9, 0.1, Decision(compute=True))
        error_estimate.computed(0.9, Measured(None, 0.1, 0.1, 1.0, 1.0), None)
        decision = error_estimate.step(0.8, change, Decision(compute=False, accumulated_error=0.01))
        assert decision.compute == decision.stopped == (limit is not None)
        assert error_estimate.error == (None if limit is None else 0.0)


@pytest.mark.parametrize("norms", [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0)])
def test_no_norm_to_relate_to(norms):
    error_estimate = ErrorEstimate("residual")
    error_estimate.computed(1.0, Measured(output_norm=norms[0], input_norm=norms[1]), None)
    error_estimate.step(0.9, 0.1, Decision(compute=False, accumulated_error=0.1))
    error_estimate.step(0.8, 0.1, Decision(compute=True))
    error_estimate.computed(0.8, Measured(0.1, 0.2, 0.3, 1.0, norms[1]), None)
    assert error_estimate.error is None


class Denoiser(torch.nn.Module):
    """Flow away from a clean signal, the guess of which saturates."""

    def forward(self, x, t):
        return (x - torch.tanh(2 * x)) / t


EVERY_OTHER = {0, 1, *range(2, STEPS, 2), STEPS - 1}


def sampled(session, fresh):
    """As `generated`; of the noise that is left after a step the share `fresh` is drawn anew (ancestral)."""
    x, xs, ys = noise(0, 256), [], []
    generator = torch.Generator().manual_seed(9)
    with attach(ForwardSite(model := Denoiser()), session):
        for i in range(STEPS):
            t, after = 1 - i / STEPS, 1 - (i + 1) / STEPS
            flow = model(x, torch.tensor(t))
            xs.append(x.tolist())
            ys.append(flow.tolist())
            clean, old = x - t * flow, x + (1 - t) * flow
            new = torch.randn(x.shape, generator=generator)
            x = (1 - after) * clean + after * (math.sqrt(1 - fresh**2) * old + fresh * new)
    return xs, ys, x.tolist()


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("fresh", [0.5, 1.0])
def test_fresh_noise_at_every_step_is_not_taken_for_an_error(predictor, fresh):
    session = Session(Chosen(EVERY_OTHER), STEPS, partial(make_predictor, predictor))
    xs, ys, final = sampled(session, fresh)
    full = sampled(session_of("off", steps=STEPS), fresh)[2]
    assert predicted(xs, ys, session.records, predictor) > 2 * span(final, full) / norm(full)
    assert session.error_estimate.error is session.error_estimate.error_bar is None
    assert "fresh noise" in session.error_estimate.withheld


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_without_it_the_same_sampler_keeps_its_estimates(predictor):
    session = Session(Chosen(EVERY_OTHER), STEPS, partial(make_predictor, predictor))
    xs, ys, _ = sampled(session, 0.0)
    assert session.error_estimate.withheld == ""
    assert session.error_estimate.error == pytest.approx(
        predicted(xs, ys, session.records, predictor), rel=1e-3
    )


def test_under_fresh_noise_a_bound_ends_skipping_with_the_first_run():
    """Until that is over nothing tells the noise."""
    skipped = {}
    for bound in (None, 1e9):
        session = session_of(tau=2.0, steps=STEPS, predictor=HoldOutput, max_error=bound)
        sampled(session, 1.0)
        skipped[bound] = [record.index for record in session.records if not record.computed]
    first = [index for index in skipped[None] if index - skipped[None].index(index) == skipped[None][0]]
    assert skipped[1e9] == first
    assert len(skipped[None]) > len(first) > 0


@pytest.mark.parametrize(
    ("policy", "predictor"),
    [
        (make_policy("teacache", threshold=0.1, align_steps=1), None),
        (make_policy("magcache", threshold=0.1, align_steps=1, ratios=[1.0]), None),
        (make_policy("fbcache", threshold=0.1, align_steps=1), None),
        (make_policy("taylorseer", threshold=0.1, align_steps=1), None),
        (make_policy("pab", threshold=0.1, align_steps=1, broadcast={"self": 2}), None),
        (make_policy("navicache", threshold=0.1, align_steps=1), partial(TaylorSeries, 1)),
    ],
    ids=lambda of: getattr(of, "name", None),
)
def test_a_bound_of_what_is_not_predicted_is_refused(policy, predictor):
    """It would compute every step without a word."""
    assert Session(policy, STEPS, predictor).error_estimate.withheld
    with pytest.raises(UsageError, match=f"predicted, found {policy.name} with") as caught:
        Session(policy, STEPS, predictor, max_error=0.1)
    assert "navicache" in caught.value.hint


@pytest.mark.parametrize("bound", [0, -0.1, math.nan])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(UsageError, match="more than 0"):
        session_of(max_error=bound)


def test_a_bound_needs_a_site_that_sees_latents():
    model = Stack()
    site, session = StackSite(model, model.in_order(), hidden="hidden"), session_of(max_error=0.1)
    with pytest.raises(SiteError, match="found StackSite") as caught, attach(site, session):
        pass
    assert "without max_error" in caught.value.hint
    assert not session.attached


def test_without_a_cache_any_bound_is_kept():
    session = session_of("off", steps=STEPS, max_error=0.1)
    generated(session)
    assert session.error_estimate.error == 0
