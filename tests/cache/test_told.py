"""Steps and branches that are told: nothing is guessed, and a wrong word is an error or does no harm."""

from __future__ import annotations

import pytest
import torch
from toys import Tiny, timesteps

from navicache_cli.cache import Session, make_policy
from navicache_cli.cache.predictors.factory import make_predictor
from navicache_cli.cache.session.memory import MOST_BRANCHES
from navicache_cli.errors import SiteError, UsageError

NAMES = ("cond", "uncond")


def session_of(steps=12, speedup=2.0, predictor="calibrated", align=2, **settings):
    policy = make_policy("navicache", threshold=0, align_steps=align, compute=1 / speedup)
    return Session(policy, steps, lambda: make_predictor(predictor), **settings)


def noise(seed=0, shape=(4, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(session, model, x, t, name=None, model_name=""):
    """One call of the region; the timestep says nothing."""

    def run():
        predicted = session.enter(None, (x,), model=model_name)
        if predicted is not None:
            return predicted[0]
        y = model(x, t, context=NAMES.index(name) if name in NAMES else 0)
        session.leave((y,))
        return y

    if name is None:
        return run()
    with session.branch(name):
        return run()


def generate(session, model, steps=12, names=NAMES, x=None, schedule=None):
    """Euler sampling; the names of the branches may differ from step to step."""
    x = noise() if x is None else x
    times = schedule or timesteps(steps)
    for i, t in enumerate(times):
        session.step(i, t)
        order = names(i) if callable(names) else names
        ys = {name: call(session, model, x, t, name) for name in order}
        y = ys["cond"] if len(ys) == 1 else ys["uncond"] + 2 * (ys["cond"] - ys["uncond"])
        x = x + ((times[i + 1] if i + 1 < len(times) else 0.0) - t) * y
    session.finish()
    return x


def uncached(**changes):
    policy = make_policy("off", threshold=0, align_steps=0)
    return generate(Session(policy, changes.get("steps", 12)), Tiny(), **changes)


def strip(session):
    return "".join("#" if record.computed else "." for record in session.records)


def test_steps_and_times_are_as_told():
    session, model = session_of(), Tiny()
    generate(session, model)
    assert [record.index for record in session.records] == list(range(12))
    assert [record.timestep for record in session.records] == timesteps(12)
    assert model.calls == 12
    assert session.transformer_calls == session.transformer_calls_saved == 12


def test_told_and_inferred_steps_decide_alike():
    inferred, model, x = session_of(), Tiny(), noise()
    times = timesteps(12)
    for i, t in enumerate(times):
        ys = []
        for branch in (0, 1):
            predicted = inferred.enter(t, (x,))
            ys.append(model(x, t, context=branch) if predicted is None else predicted[0])
            if predicted is None:
                inferred.leave((ys[-1],))
        after = times[i + 1] if i < 11 else 0.0
        x = x + (after - t) * (ys[1] + 2 * (ys[0] - ys[1]))
    inferred.finish()
    told = session_of()
    assert torch.equal(generate(told, Tiny()), x)
    assert [vars(a) | {"seconds": 0} for a in told.records] == [
        vars(b) | {"seconds": 0} for b in inferred.records
    ]


def test_timesteps_that_rounding_merges_stay_steps_of_their_own():
    """In bfloat16 they lie 4 apart near 1000."""
    rounded = [float(torch.tensor(1000 * t).bfloat16()) for t in timesteps(150)]
    assert len(set(rounded)) < 150
    session, model = session_of(150), Tiny()
    generate(session, model, 150)
    assert len(session.records) == 150
    assert model.calls == 150


@pytest.mark.parametrize(
    "order",
    [
        lambda i: NAMES if i % 2 else NAMES[::-1],
        lambda i: NAMES[::-1] if i < 6 else ("cond",),  # guidance dropped midway, the unconditional first
    ],
    ids=["alternating", "dropped"],
)
def test_a_branch_keeps_its_own_whatever_the_order(order):
    """Whoever told branches by their order would give each the other's output: 10 times as far off."""
    expected = uncached(names=order)
    session, model = session_of(), Tiny()
    found = generate(session, model, names=order)
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert session.transformer_calls == model.calls


def test_a_window_that_moves_is_never_predicted_from_another():
    session, model, x, computed = session_of(), Tiny(), noise(shape=(20, 6)), 0
    for i, t in enumerate(timesteps(12)):
        session.step(i, t)
        for start in range(i % 3, 16, 8):
            window = x[start : start + 4]
            with session.branch(f"window {start}"):
                found = session.enter(None, (window,))
                if found is None:
                    session.leave((model(window, t),))
                    computed += 1
                    continue
            assert (found[0] - model(window, t)).abs().mean() < 0.2
    assert computed == session.transformer_calls
    assert all(record.computed for record in session.records), "the leading window always moves"


def test_a_named_branch_called_twice_in_a_step_is_an_error():
    session, model = session_of(), Tiny()
    session.step(0)
    call(session, model, noise(), 1.0, "cond")
    with pytest.raises(UsageError, match=r"one call of branch 'cond' .* another in step 0"):
        call(session, model, noise(), 1.0, "cond")


@pytest.mark.parametrize(
    ("index", "found"), [(12, "0 to 11, found 12"), (3, "step 5 or a later one, found 3")]
)
def test_a_step_that_is_none_is_an_error(index, found):
    session = session_of()
    session.step(5)
    with pytest.raises(UsageError, match=found):
        session.step(index)


def test_a_step_told_of_two_times_is_an_error():
    session = session_of()
    session.step(5, 0.5)
    session.step(5, 0.5)
    with pytest.raises(UsageError, match=r"step 5 at 0\.5, as was told before, found it at 0\.4"):
        session.step(5, 0.4)


@pytest.mark.parametrize("index", [-1, 1.0, True])
def test_a_step_is_a_number_of_one(index):
    with pytest.raises(UsageError, match="a step"):
        session_of().step(index)


def test_a_step_told_again_is_the_same_step():
    session, model = session_of(), Tiny()
    for i, t in enumerate(timesteps(12)):
        for name in NAMES:
            session.step(i, t)
            call(session, model, noise(i), t, name)
    assert len(session.records) == 12


def test_step_0_after_a_later_one_starts_anew():
    """Also where the second generation starts below the place where the first was broken off."""
    session = session_of()
    generate(session, Tiny(), schedule=timesteps(12)[:7], x=noise(3))
    low = [0.4 * t for t in timesteps(12)]
    expected = generate(session_of(), Tiny(), schedule=low)
    session.step(0, low[0])
    assert session.records == []
    assert torch.equal(generate(session, Tiny(), schedule=low), expected)


def test_a_call_that_failed_may_be_made_again():
    session, model, x = session_of(), Tiny(), noise()
    for i, t in enumerate(timesteps(12)):
        session.step(i, t)
        if i == 5:
            with session.branch("cond"):
                session.enter(None, (x,), compute=True)  # and the model raises
        y = call(session, model, x, t, "cond")
        x = x - 0.05 * y
    assert [record.index for record in session.records] == list(range(12))
    assert strip(session)[6] == "#", "nothing is kept of a step that failed"


def test_neither_a_timestep_nor_a_step_is_an_error():
    with pytest.raises(SiteError, match="a step that was told, found neither"):
        session_of().enter(None, (noise(),))


def test_memory_stays_bounded_over_generations_that_end_after_a_step():
    """Untold, each looks like a further branch of one step."""
    session, model, held = session_of(), Tiny(), []
    for seed in range(200):
        x = noise(seed)
        if session.enter(1.0, (x,)) is None:
            session.leave((model(x, 1.0),))
        held.append(session.cache_bytes)
    assert max(held) == held[-1] <= (2 * MOST_BRANCHES + 1) * x.nbytes
    told, model, held = session_of(), Tiny(), []
    for seed in range(200):
        told.begin(12)
        told.step(0)
        call(told, model, noise(seed), 1.0, "cond")
        held.append(told.cache_bytes)
    assert set(held) == {held[0]}


def test_memory_stays_bounded_under_ever_new_names():
    session, model, held = session_of(400), Tiny(), []
    for i in range(200):
        session.step(i)
        call(session, model, noise(i), 1.0, f"window {i}")
        held.append(session.cache_bytes)
    assert max(held) <= (2 * MOST_BRANCHES + 1) * noise().nbytes


@pytest.mark.parametrize(("shapes", "computed"), [(2, 20), (4, 20), (6, 21)])
def test_a_budget_holds_when_the_batch_changes(shapes, computed):
    """What was spent before the change counts. Each costs two steps; the sixth leaves no room for them."""
    session, model = session_of(40), Tiny()
    x, times = noise(shape=(8, 6)), timesteps(40)
    for i, t in enumerate(times):
        session.step(i, t)
        x = x[: 8 - i * shapes // 40]
        x = x - 0.02 * call(session, model, x, t, "cond")
    assert strip(session).count("#") == computed


def test_several_models_share_steps_budget_and_ratio_but_no_output():
    first, second = Tiny(), Tiny()
    session, x, held = session_of(40), noise(), []
    for i, t in enumerate(timesteps(40)):
        session.step(i, t)
        model, name = (first, "high") if i < 17 else (second, "low")
        x = x - 0.02 * call(session, model, x, t, "cond", name)
        held.append(session.cache_bytes)
    marks = strip(session)
    assert marks.count("#") == 20 == first.calls + second.calls
    assert marks[17] == "#"
    assert session.records[18].decision.ratio is not None
    assert marks[:17].count(".") > 0 < marks[17:].count(".")
    assert [record.model for record in session.records] == ["high"] * 17 + ["low"] * 23
    assert held[17] == held[0], "what the first model returned is dropped"


def test_the_error_is_predicted_across_models():
    session, x = session_of(40), noise()
    for i, t in enumerate(timesteps(40)):
        session.step(i, t)
        x = x - 0.02 * call(session, Tiny(), x, t, "cond", "high" if i < 17 else "low")
    session.finish()
    assert session.error_estimate.error is not None


def test_a_call_that_must_be_computed_counts_as_computed():
    session, model, x = session_of(), Tiny(), noise()
    for i, t in enumerate(timesteps(12)):
        session.step(i, t)
        predicted = session.enter(None, (x,), compute=i == 7)
        if predicted is None:
            session.leave((model(x, t),))
        x = 0.97 * x
    assert session.records[7].computed
    assert strip(session).count("#") == 6 == model.calls
