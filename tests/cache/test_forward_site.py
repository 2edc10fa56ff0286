"""A whole forward under a session, against the plain-Python twin and against the bare model."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import weakref
from collections import namedtuple

import oracle
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toys import FORMS, Tiny, combine, plain_model, sample, tensor_of, timesteps

from navicache_cli import cache
from navicache_cli.cache import ForwardSite, NaviCache, Session, attach, make_policy
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.errors import SiteError

VARIANTS = [("navicache", "scalar"), ("navicache", "dual"), ("easycache", "hold")]


def session_of(method="navicache", tau=0.15, align=2, steps=12, estimator="scalar", **more):
    estimator = "scalar" if estimator == "hold" else estimator
    return Session(make_policy(method, threshold=tau, align_steps=align, estimator=estimator), steps, **more)


def noise(seed=0, size=24):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def attached_run(session, latents, steps=12, branches=1, **options):
    model = Tiny()
    with attach(ForwardSite(model), session):
        return model, *sample(model, latents, timesteps(steps), branches, **options)


def twin_run(latents, tau, align, steps, estimator, branches):
    gate = oracle.Gate(tau, align, steps, estimator)
    return oracle.generate(plain_model, latents.tolist(), timesteps(steps), combine, branches, gate)


def assert_like_twin(session, final, outputs, twin):
    assert [record.computed for record in session.records] == twin.computed()
    for record, row in zip(session.records, twin.rows, strict=True):
        assert record.decision.forced == row.forced
        for mine, theirs in [
            (record.decision.ratio, row.k),
            (record.decision.variance, row.p),
            (record.decision.predicted_change, row.change),
            (record.decision.accumulated_error, row.error),
            (record.innovation, row.innovation),
        ]:
            assert mine == (None if theirs is None else pytest.approx(theirs, rel=2e-3, abs=2e-4))
    for mine, theirs in zip(outputs, twin.outputs, strict=True):
        assert mine.reshape(-1).tolist() == pytest.approx(theirs, abs=1e-4)
    assert final.reshape(-1).tolist() == pytest.approx(twin.latents, abs=1e-4)


@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize(("method", "estimator"), VARIANTS)
def test_generation_follows_the_equations(method, estimator, branches):
    session = session_of(method, 0.15, 2, 12, estimator)
    _, final, outputs = attached_run(session, noise(), branches=branches)
    twin = twin_run(noise(), 0.15, 2, 12, estimator, branches)
    assert twin.margin(0.15) > 1e-3
    assert 0 < sum(twin.computed()) < 12
    assert_like_twin(session, final, outputs, twin)
    assert session.transformer_calls == branches * sum(twin.computed())
    assert session.transformer_calls + session.transformer_calls_saved == branches * 12


def test_the_twin_can_fail():
    session = session_of(tau=0.3)
    _, final, outputs = attached_run(session, noise())
    with pytest.raises(AssertionError):
        assert_like_twin(session, final, outputs, twin_run(noise(), 0.05, 2, 12, "scalar", 1))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tau=st.floats(0.01, 1.0),
    align=st.integers(0, 5),
    steps=st.integers(1, 14),
    branches=st.integers(1, 3),
    variant=st.sampled_from(VARIANTS),
)
def test_random_generations_follow_the_equations(seed, tau, align, steps, branches, variant):
    twin = twin_run(noise(seed), tau, align, steps, variant[1], branches)
    assume(twin.margin(tau) > 1e-3)
    session = session_of(variant[0], tau, align, steps, variant[1])
    _, final, outputs = attached_run(session, noise(seed), steps, branches)
    assert_like_twin(session, final, outputs, twin)


def test_lists_of_tensors_are_one_input():
    model, session = Tiny(), session_of(steps=8)
    latents = [noise(1, 8), noise(2, 12).reshape(3, 4)]
    with attach(ForwardSite(model), session):
        for i, t in enumerate(timesteps(8)):
            ys = model(latents, torch.tensor(t))
            assert isinstance(ys, list)
            if session.records[-1].computed:
                kept = [(x, y) for x, y in zip(latents, ys, strict=True)]
            else:
                for x, y, (x_c, y_c) in zip(latents, ys, kept, strict=True):
                    torch.testing.assert_close(y, x + (y_c - x_c))
            latents = [x - 0.05 * y for x, y in zip(latents, ys, strict=True)]
            assert session.records[-1].index == i
    spans = [record.measured.input_span for record in session.records]
    assert session.transformer_calls_saved > 0
    assert spans[1] == session.records[1].measured.input_change


@pytest.mark.parametrize("form", [*FORMS, "of lists"])
def test_off_is_bit_identical_and_keeps_nothing(form):
    model = Tiny("tensor" if form == "of lists" else form)
    latents = [noise(1), noise(2)] if form == "of lists" else noise()
    session = session_of("off")
    for t in timesteps(12):
        bare = model(latents, torch.tensor(t))
        with attach(ForwardSite(model), session):
            cached = model(latents, torch.tensor(t))
        assert type(cached) is type(bare)
        pairs = (
            zip(cached, bare, strict=True) if form == "of lists" else [(tensor_of(cached), tensor_of(bare))]
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    assert session.peak_cache_bytes == 0


@pytest.mark.parametrize("in_place", [False, True])
def test_off_generation_is_bit_identical(in_place):
    bare, _ = sample(Tiny(), noise(), timesteps(12), 2, in_place=in_place)
    session = session_of("off")
    _, cached, _ = attached_run(session, noise(), branches=2, in_place=in_place)
    assert torch.equal(bare, cached)
    assert [record.computed for record in session.records] == [True] * 12
    assert all(record.measured.input_change is None for record in session.records)


@pytest.mark.parametrize("form", FORMS)
def test_skipped_calls_return_the_form_of_computed_ones(form):
    model, session = Tiny(form), session_of(tau=100.0, steps=6)
    plain, plain_session = Tiny(), session_of(tau=100.0, steps=6)
    with attach(ForwardSite(model), session), attach(ForwardSite(plain), plain_session):
        for t in timesteps(6):
            output, twin = (
                model(noise() * (1 + t), torch.tensor(t)),
                plain(noise() * (1 + t), torch.tensor(t)),
            )
            assert type(output) is type(FORMS[form](twin))
            assert torch.equal(tensor_of(output), twin)
    assert model.calls == 4 - 1
    assert session.transformer_calls_saved == 3


@pytest.mark.parametrize("form", FORMS)
def test_the_models_own_tensors_are_not_held(form):
    model, session = Tiny(form), session_of()
    with attach(ForwardSite(model), session):
        latents, timestep = noise(), torch.tensor(1.0)
        output = tensor_of(model(latents, timestep))
        refs = [weakref.ref(a) for a in (latents, timestep, output)]
        del latents, timestep, output
        gc.collect()
        assert [ref() for ref in refs] == [None] * 3


def test_dict_keeps_its_other_entries():
    model, session = Tiny("dict"), session_of(tau=100.0, steps=6)
    with attach(ForwardSite(model), session):
        outputs = [model(noise() * (1 + t), t) for t in timesteps(6)]
    assert outputs[3].keys() == {"x", "note"}


def test_residual_is_computed_in_float32_and_cast_back():
    model, session = Tiny(), session_of(tau=100.0, steps=6)
    inputs = [noise(i).to(torch.bfloat16) for i in range(6)]
    with attach(ForwardSite(model), session):
        outputs = [model(x, t) for x, t in zip(inputs, timesteps(6), strict=True)]
    expected = (inputs[3].float() + (outputs[1].float() - inputs[1].float())).to(torch.bfloat16)
    assert torch.equal(outputs[3], expected)


def test_in_place_samplers_do_not_reach_the_cache():
    results = []
    for in_place in (False, True):
        session = session_of(tau=0.3)
        _, final, _ = attached_run(session, noise(), branches=2, in_place=in_place)
        results.append((final, [record.computed for record in session.records]))
        assert session.transformer_calls_saved > 0
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_a_forward_that_writes_into_its_input_does_not_reach_the_cache():
    class Rude(Tiny):
        def forward(self, x, t, context=0):
            y = super().forward(x, t, context)
            x.mul_(0)
            return y

    class Polite(Tiny):
        def forward(self, x, t, context=0):
            return super().forward(x, t, context)

    runs = []
    for kind in (Rude, Polite):
        model, session = kind(), session_of(tau=0.3)
        with attach(ForwardSite(model), session):
            runs.append([model(noise() * (1 + t), t) for t in timesteps(12)])
        assert session.transformer_calls_saved > 0
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_batched_guidance_is_one_branch():
    model, session = Tiny(), session_of()
    latents = noise().reshape(1, 24)
    with attach(ForwardSite(model), session):
        for t in timesteps(12):
            y = model(torch.cat([latents, latents * 1.1]), torch.full((2,), t))
            latents = latents - 0.08 * y.mean(0, keepdim=True)
    assert [record.index for record in session.records] == list(range(12))
    assert session.transformer_calls + session.transformer_calls_saved == 12
    assert session.transformer_calls_saved > 0


@pytest.mark.parametrize(
    "make_timestep",
    [
        float,
        lambda t: torch.tensor([t]),
        lambda t: torch.full((3,), t),
        lambda t: torch.cat([torch.zeros(1, 2), torch.full((1, 4), t)], dim=1),
        lambda t: torch.tensor(int(1000 * t)),
        lambda t: torch.tensor(t, dtype=torch.float64),
    ],
    ids=["float", "one element", "per sample", "per token, first frame given", "whole number", "double"],
)
def test_every_kind_of_timestep_tells_the_step(make_timestep):
    session = session_of()
    with attach(ForwardSite(model := Tiny()), session):
        for t in timesteps(12):
            for b in range(2):
                model(noise() * (1 + t), make_timestep(t), context=b)
    assert [record.index for record in session.records] == list(range(12))
    scale = (
        1000
        if isinstance(make_timestep(1.0), torch.Tensor) and make_timestep(1.0).dtype == torch.int64
        else 1
    )
    assert session.records[3].timestep == pytest.approx(scale * timesteps(12)[3], abs=1)


def test_arguments_are_found_by_position_and_by_keyword():
    class KeywordOnly(Tiny):
        def forward(self, *, x, t):
            return super().forward(x, t)

    session = session_of(tau=100.0, steps=6)
    for model, call in [
        (Tiny(), lambda m, x, t: m(x, t)),
        (Tiny(), lambda m, x, t: m(x, t=t)),
        (Tiny(), lambda m, x, t: m(context=0, t=t, x=x)),
        (KeywordOnly(), lambda m, x, t: m(t=t, x=x)),
    ]:
        with attach(ForwardSite(model), session):
            for t in timesteps(6):
                call(model, noise() * (1 + t), t)
        assert session.transformer_calls_saved == 3


def test_other_parameter_names():
    class Renamed(torch.nn.Module):
        def forward(self, hidden_states, timestep):
            return hidden_states * 0.5

    model, session = Renamed(), session_of(tau=100.0, steps=6)
    with attach(ForwardSite(model, timestep="timestep", inputs="hidden_states"), session):
        for t in timesteps(6):
            model(noise() * (1 + t), timestep=t)
    assert session.transformer_calls_saved == 3
    with (
        pytest.raises(SiteError, match=r"'x'.*hidden_states"),
        attach(ForwardSite(model, "timestep"), session),
    ):
        pass
    with pytest.raises(SiteError, match=r"'t'.*timestep"), attach(ForwardSite(model), session):
        pass


def test_a_call_without_the_argument_is_named():
    class Lenient(torch.nn.Module):
        def forward(self, x, t=None):
            return x

    model = Lenient()
    with attach(ForwardSite(model), session_of()), pytest.raises(SiteError, match="'t'"):
        model(noise())


@pytest.mark.parametrize("x", [None, [], [1.0, 2.0], "latents"])
def test_inputs_that_are_not_tensors_are_named(x):
    model = Tiny()
    with attach(ForwardSite(model), session_of()), pytest.raises(SiteError, match="'x'"):
        model(x, 0.5)


class Returns(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x, t):
        return self.output(x)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda x: None, "NoneType"),
        (lambda x: {"y": x}, "dict"),
        (lambda x: (None, x), "tuple"),
        (lambda x: (x, x), "more"),
        (lambda x: {"x": x, "hidden": x}, "more"),
        (lambda x: x[:2], r"\(24,\).*\(2,\)"),
    ],
)
def test_outputs_that_cannot_be_rebuilt_are_refused_unless_off(output, said):
    model = Returns(output)
    with attach(ForwardSite(model), session_of()), pytest.raises(SiteError, match=said):
        model(noise(), 0.5)
    with attach(ForwardSite(model), session_of("off")):
        model(noise(), 0.5)


def test_a_list_in_and_a_mixed_list_out_is_refused():
    model = Returns(lambda x: [x[0], None])
    with attach(ForwardSite(model), session_of()), pytest.raises(SiteError, match="list"):
        model([noise(), noise()], 0.5)


def test_named_tuples_are_rebuilt():
    pair = namedtuple("pair", ["sample_", "note"])
    model, session = Returns(lambda x: pair(x * 0.5, "n")), session_of(tau=100.0, steps=6)
    with attach(ForwardSite(model), session):
        outputs = [model(noise() * (1 + t), t) for t in timesteps(6)]
    assert type(outputs[3]) is pair
    assert outputs[3].note == "n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whatever_happens_the_forward_is_back(error):
    model, session = Tiny(), session_of()
    before, order = dict(model.__dict__), list(model.__dict__)

    def generate_and_fail():
        with attach(ForwardSite(model), session):
            sample(model, noise(), timesteps(12)[:5])
            assert bound_to(model) is session
            assert session.cache_bytes > 0
            raise error

    with pytest.raises(error):
        generate_and_fail()
    model.calls = 0
    assert dict(model.__dict__) == before
    assert list(model.__dict__) == order
    assert type(model).forward is Tiny.forward
    assert session.cache_bytes == 0
    assert session.peak_cache_bytes > 0


def test_an_instance_bound_forward_is_wrapped_and_put_back():
    model, session = Tiny(), session_of(tau=100.0, steps=6)
    calls = []

    def parallel(self, x, t, context=0):
        calls.append(float(t))
        return type(self).forward(self, x, t, context)

    model.forward = parallel.__get__(model)
    bound, order = model.forward, list(model.__dict__)
    with attach(ForwardSite(model), session):
        assert list(inspect.signature(model.forward).parameters) == ["x", "t", "context"]
        sample(model, noise(), timesteps(6))
    assert model.__dict__["forward"] is bound
    assert list(model.__dict__) == order
    assert len(calls) == model.calls == 3


def test_another_instance_is_left_alone():
    one, two = Tiny(), Tiny()
    with attach(ForwardSite(one), session_of()):
        assert bound_to(two) is None
        two(noise(), 0.5)
    assert two.calls == 1


def test_hooks_of_the_module_run_where_it_runs():
    model, session, seen = Tiny(), session_of(tau=100.0, steps=6), []
    model.register_forward_pre_hook(lambda m, args: seen.append("before"))
    model.register_forward_hook(lambda m, args, output: seen.append("after"))
    with attach(ForwardSite(model), session):
        sample(model, noise(), timesteps(6))
    assert seen == ["before", "after"] * 3
    assert model.calls == 3


def test_two_sessions_on_one_site_is_an_error():
    model = Tiny()
    with attach(ForwardSite(model), session_of()):
        with pytest.raises(SiteError, match="attached"), attach(ForwardSite(model), session_of()):
            pass
        assert bound_to(model) is not None
        model(noise(), 0.5)
    with attach(ForwardSite(model), session_of()):
        pass


def test_one_session_on_two_sites_is_an_error():
    session, one, two = session_of(), Tiny(), Tiny()
    with attach(ForwardSite(one), session):
        with pytest.raises(SiteError, match="another site"), attach(ForwardSite(two), session):
            pass
        assert bound_to(one) is session
        assert bound_to(two) is None
    with attach(ForwardSite(two), session):
        pass


def test_importing_names_needs_no_torch():
    code = "import sys; from navicache_cli.cache.policies.factory import METHODS; "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_gives_its_names_and_no_others():
    assert all(getattr(cache, name) is not None for name in cache.__all__)
    assert sorted(cache._HOME_OF) == sorted(cache.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cache.nonsense


def test_defaults_are_the_published_method():
    session = Session(NaviCache(0.05, 10), 50)
    assert (session.policy.estimator.name, session.policy.predictor.name) == ("scalar", "residual")
