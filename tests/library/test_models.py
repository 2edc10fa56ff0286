"""`navicache.enable` on a model by itself: inferred steps, or told ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import navicache


class Model(nn.Module):
    """x and t in, in one of the forms that models have; a smooth map, so that it can be predicted."""

    def __init__(self, form="tensor"):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.3))
        self.form = form
        self.calls = 0

    def forward(self, x, t, shift=0.0):
        self.calls += 1
        if isinstance(x, list):
            return [self.one(a, t, shift) for a in x]
        y = self.one(x, t, shift)
        return y if self.form == "tensor" else (y, None)

    def one(self, x, t, shift):
        return 0.6 * torch.tanh(self.weight * x + t + shift)


def times(steps):
    return [1 - i / steps for i in range(steps)]


def sample(model, steps=20, branches=1, x=None, tell=None):
    """Euler sampling with one call per branch."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) if x is None else x
    with torch.no_grad():
        for i, t in enumerate(times(steps)):
            if tell is not None:
                tell(i, t)
            ys = [model(x, torch.tensor(t), shift=0.1 * k) for k in range(branches)]
            ys = [y if isinstance(y, torch.Tensor) else y[0] for y in ys]
            x = x - sum(ys) / len(ys) / steps
    return x


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("form", ["tensor", "tuple"])
def test_steps_are_inferred_from_the_timestep(form, branches):
    model = Model(form)
    plain = sample(model, branches=branches)
    model.calls = 0
    with navicache.cached(model, steps=20) as cache:
        made = sample(model, branches=branches)
        assert torch.equal(sample(model, branches=branches), made)
    assert model.calls == 2 * 10 * branches
    assert (made - plain).abs().mean() < 0.05 * plain.abs().mean()
    assert [report.skipped_steps for report in cache.reports] == [10, 10]
    assert "forward" not in model.__dict__
    assert torch.equal(sample(model, branches=branches), plain)


def test_a_list_of_latents_is_x():
    """As in Wan's official code."""
    model = Model()
    with torch.no_grad(), navicache.cached(model, steps=20) as cache:
        x = [torch.randn(3, 4), torch.randn(5, 4)]
        for t in times(20):
            x = [a - y / 20 for a, y in zip(x, model(x, torch.tensor(t)), strict=True)]
    assert (model.calls, cache.report().skipped_steps) == (10, 10)


def test_told_steps_need_no_timestep():
    model = Model()
    with torch.no_grad(), navicache.cached(model, steps=20, timestep="shift") as cache:
        x = torch.randn(3, 4)
        for i, t in enumerate(times(20)):
            cache.step(i, t)
            x = x - model(x, 0.5) / 20
    assert model.calls == 10
    assert [step.timestep for step in cache.reports[0].loops[0].steps] == times(20)


def test_another_number_of_steps_is_told_by_begin():
    model = Model()
    with navicache.cached(model, steps=16) as cache:
        sample(model, 16)
        cache.begin(24)
        sample(model, 24, tell=cache.step)
        cache.begin(10)
        sample(model, 10)
    assert [(one.steps, one.skipped_steps) for one in cache.reports] == [(16, 8), (24, 12), (10, 5)]


@pytest.mark.parametrize(
    ("told", "message"), [(False, "16 steps, found another"), (True, "a step of 0 to 15, found 16")]
)
def test_more_steps_than_were_told_are_an_error_not_another_generation(told, message):
    model = Model()
    with navicache.cached(model, steps=16) as cache, pytest.raises(navicache.NavicacheError, match=message):
        sample(model, 24, tell=cache.step if told else None)


def test_a_generation_broken_off_and_one_that_starts_lower():
    """Where steps are told, or the generation is."""
    model = Model()
    with navicache.cached(model, steps=20) as cache, torch.no_grad():
        for t in times(20)[:5]:
            model(torch.randn(3, 4), torch.tensor(t))
        cache.begin(20)
        for t in times(20):
            model(torch.randn(3, 4), torch.tensor(0.5 * t))
        for i in (*range(5), *range(20)):
            cache.step(i)
            model(torch.randn(3, 4), 0.0)
    assert [report.steps for report in cache.reports] == [5, 20, 5, 20]


def test_moving_windows_have_names():
    model = Model()
    with torch.no_grad(), navicache.cached(model, steps=20) as cache:
        x = torch.randn(20, 4)
        for i, t in enumerate(times(20)):
            cache.step(i, t)
            y = torch.zeros_like(x)
            for start in (0, 8, 12) if i < 10 else (0, 4, 12):
                with cache.branch(f"window {start}"), cache.branch("cond"):
                    y[start : start + 8] = model(x[start : start + 8], 0.0)
            x = x - y / 20
    totals = cache.reports[0].loops[0].totals
    assert model.calls == totals.transformer_calls
    assert totals.transformer_calls + totals.transformer_calls_saved == 60


def test_a_report_may_be_asked_for_at_any_time():
    model = Model()
    with navicache.cached(model, steps=20) as cache:
        assert cache.report().loops == []
        seen = []
        sample(model, tell=lambda i, t: seen.append(cache.report().steps))
        assert seen == list(range(20))
        assert cache.report().steps == 20
        assert cache.reports == []
        cache.end()
        assert cache.reports[0].steps == 20
        assert cache.report().steps == 20
    assert cache.report().steps == 20


def test_nothing_is_kept_after_the_end():
    model = Model()
    cache = navicache.enable(model, steps=20)
    sample(model)
    assert cache._session.cache_bytes > 0
    cache.end()
    assert cache._session.cache_bytes == 0
    navicache.disable(model)
    for call in (lambda: cache.step(0), lambda: cache.branch("cond"), lambda: cache.begin(3)):
        with pytest.raises(navicache.UsageError, match="expected a cache that is on"):
            call()


def test_what_a_pipeline_tells_is_not_for_callers(monkeypatch):
    from tests.library.pipelines.table import ROW

    with navicache.cached(ROW["wan"].build()) as cache:
        for call in (lambda: cache.step(0), lambda: cache.begin(3)):
            with pytest.raises(navicache.UsageError, match="a cache on a model by itself"):
                call()
        with cache.branch("window 1"):
            pass


class Other(nn.Module):
    def forward(self, picture):
        return picture


class Shrinks(nn.Module):
    def forward(self, x, t):
        return x[:1, :1]


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Model, {}, "the number of steps that the sampler"),
        (Model, {"steps": 0}, "steps to be a whole number"),
        (Model, {"steps": 2.0}, "steps to be a whole number"),
        (Model, {"steps": 8, "inputs": "latents"}, "expected a parameter 'latents'"),
        (Model, {"steps": 8, "timestep": "time"}, "expected a parameter 'time'"),
        (Other, {"steps": 8}, "Other.forward with one of hidden_states"),
        (Model, {"steps": 8, "mode": "fast"}, "published modes"),
    ],
)
def test_wrong_arguments_are_named(make, settings, message):
    model = make()
    with pytest.raises(navicache.NavicacheError, match=message) as raised:
        navicache.enable(model, **settings)
    assert raised.value.hint
    assert "_compiled_call_impl" not in model.__dict__


def test_calls_that_cannot_be_cached_are_named():
    x = torch.randn(3, 4)
    with navicache.cached(Shrinks(), steps=8) as cache, pytest.raises(navicache.SiteError, match="an output"):
        cache._site._denoiser.module(x, 1.0)
    with navicache.cached(Other(), steps=8, inputs="picture") as cache:
        model = cache._site._denoiser.module
        with pytest.raises(navicache.SiteError, match="a step that was told, found neither"):
            model(x)
        with pytest.raises(navicache.SiteError, match="to be a tensor or a list of tensors"):
            model("picture")
