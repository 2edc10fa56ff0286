"""Steps, branches, generations, storage, time, and how often the device is waited for."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from test_forward_site import attached_run, noise, session_of
from toys import Tiny, sample, timesteps

from navicache_cli.cache import Decision, ForwardSite, ResidualReuse, Session, attach
from navicache_cli.cache import tensors as tensor_tools
from navicache_cli.cache.policies.policy import Measure, PredictorSpec, Region, Signal
from navicache_cli.cache.predictors.factory import make_predictor
from navicache_cli.cache.session import computed_call, skipped_call
from navicache_cli.cache.session import session as session_module
from navicache_cli.cache.session.timing import CallTimer
from navicache_cli.cache.session.tracker import Arrival, StepTracker
from navicache_cli.errors import UsageError


def facts(session):
    return [
        (
            r.index,
            r.timestep,
            r.computed,
            r.decision.forced,
            r.decision.ratio,
            r.decision.variance,
            r.decision.accumulated_error,
            r.innovation,
        )
        for r in session.records
    ]


def fresh_facts(steps=12, branches=1, seed=0):
    session = session_of(steps=steps)
    _, final, _ = attached_run(session, noise(seed), steps, branches)
    return facts(session), final


def test_tracker_knows_steps_and_generations():
    tracker = StepTracker()
    tracker.begin(3)
    for value, expected in [(0.1, Arrival.NEW_STEP), (0.2, Arrival.NEW_STEP), (0.3, Arrival.NEW_STEP)]:
        assert tracker.classify(value) is expected
        tracker.advance(value)
        assert tracker.classify(value) is Arrival.SAME_STEP
    assert tracker.classify(0.4) is Arrival.BEYOND
    assert tracker.classify(0.1) is Arrival.NEW_GENERATION


def test_a_step_told_in_two_precisions_is_one_step():
    """Of a number of 64 bits on one branch, and a tensor of 32 on the other."""
    session, model = session_of(steps=12), Tiny()
    with attach(ForwardSite(model), session):
        x = noise()
        for t in timesteps(12):
            x = x - 0.05 * (
                model(x, t, context=0) + model(x, torch.tensor(t, dtype=torch.float32), context=1)
            )
    assert len(session.records) == 12
    assert model.calls == 2 * sum(record.computed for record in session.records) < 24


@pytest.mark.parametrize("steps", [0, -1, 2.0, True])
def test_bad_step_counts_are_named(steps):
    with pytest.raises(UsageError, match="total_steps"):
        session_of(steps=steps)


def test_a_first_step_in_half_precision_counts():
    """As in HunyuanVideo, whose scheduler returns float32 whatever it is given."""

    def followed(x):
        session, model = session_of(align=1), Tiny()
        for t in timesteps(12):
            predicted = session.enter(t, (x,))
            y = model(x.float(), t) if predicted is None else predicted[0]
            if predicted is None:
                session.leave((y,))
            x = x.float() - 0.05 * y
        session.finish()
        return facts(session), x

    first = noise().half()
    (mixed, end), (plain, expected) = followed(first), followed(first.float())
    assert mixed == plain
    assert torch.equal(end, expected)
    assert mixed[2][4] is not None, "the first two steps gave a ratio"


@pytest.mark.parametrize("stopped_after", [12, 7, 2])
def test_a_second_generation_in_one_attach_starts_empty(stopped_after):
    model, done = Tiny(), []
    session = session_of(on_step=lambda record: done.append(record.index))
    with attach(ForwardSite(model), session):
        sample(model, noise(3), timesteps(12)[:stopped_after], 2)
        first = session.records
        final, _ = sample(model, noise(), timesteps(12), 2)
    expected, expected_final = fresh_facts(branches=2)
    assert facts(session) == expected
    assert torch.equal(final, expected_final)
    assert len(first) == stopped_after
    assert session.records is not first
    assert done == [*range(stopped_after), *range(12)]
    assert session.transformer_calls + session.transformer_calls_saved == 24


def test_a_second_attach_starts_empty():
    session = session_of()
    attached_run(session, noise(5))
    _, final, _ = attached_run(session, noise())
    expected, expected_final = fresh_facts()
    assert facts(session) == expected
    assert torch.equal(final, expected_final)


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("failing_step", [0, 1, 6])
def test_a_forward_that_raised_leaves_nothing_behind(begin, failing_step):
    class Flaky(Tiny):
        fail_at = failing_step

        def forward(self, x, t, context=0):
            if self.calls == self.fail_at:
                raise RuntimeError("out of memory")
            return super().forward(x, t, context)

    model, session = Flaky(), session_of()
    with attach(ForwardSite(model), session):
        with pytest.raises(RuntimeError, match="out of memory"):
            sample(model, noise(9), timesteps(12) * 3)
        model.fail_at = -1
        if begin:
            session.begin(12)
            assert session.cache_bytes == 0
        final, _ = sample(model, noise(), timesteps(12))
    expected, expected_final = fresh_facts()
    assert facts(session) == expected
    assert torch.equal(final, expected_final)


def test_an_exception_in_the_callback_ends_the_generation():
    def stop(record):
        if record.index == 4 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    stopped, model = [], Tiny()
    session = session_of(on_step=stop)
    with attach(ForwardSite(model), session):
        with pytest.raises(KeyboardInterrupt):
            sample(model, noise(9), timesteps(12))
        sample(model, noise(), timesteps(12))
    assert facts(session) == fresh_facts()[0]


def test_finish_ends_a_generation_of_one_step():
    model, session = Tiny(), session_of(steps=1)
    with attach(ForwardSite(model), session):
        for _ in range(2):
            model(noise(), 1.0)
            session.finish()
            session.finish()
            assert [record.decision.forced for record in session.records] == [True]
    assert session.transformer_calls == 1


def test_changing_step_counts():
    model, session = Tiny(), session_of(steps=12)
    with attach(ForwardSite(model), session):
        for steps in (12, 7, 20):
            session.begin(steps)
            sample(model, noise(), timesteps(steps))
            session.finish()
            assert facts(session) == fresh_facts(steps)[0]
            assert session.records[-1].decision.forced


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_step_models_compute_everything(steps):
    session = session_of(tau=100.0, align=2, steps=steps)
    _, final, _ = attached_run(session, noise(), steps, branches=2)
    assert all(record.computed and record.decision.forced for record in session.records)
    assert torch.equal(final, sample(Tiny(), noise(), timesteps(steps), 2)[0])


def test_a_branch_without_a_fresh_cache_is_computed():
    """The second branch joins late, or sits out the step whose outputs the others go on from."""
    model, session = Tiny(), session_of(tau=0.3, align=2, steps=12)
    computed = []
    with attach(ForwardSite(model), session):
        for i, t in enumerate(timesteps(12)):
            counts = []
            for b in range(2 if i in (3, 4, 5) else 1):
                before = model.calls
                model(noise() * (2 - 0.02 * i), t, context=b)
                counts.append(model.calls - before)
            computed.append(counts)
    first = [record.computed for record in session.records]
    assert not any(first[2:6])
    assert computed[3] == [0, 1]
    assert computed[4] == computed[5] == [0, 0]


def test_a_branch_that_missed_the_last_computed_step_is_computed():
    class Scripted:
        name, caches, region, signal = "scripted", True, Region.OWN, Signal.INPUT
        measures, predictor = Measure.CHANGES, PredictorSpec("residual")

        def begin(self, total_steps):
            pass

        def forget(self, total_steps):
            pass

        def decide(self, index, input_change):
            return Decision(compute=index in (1, 3))

        def observe(self, index, input_span, output_span, output_norm):
            return None

    model, session = Tiny(), Session(Scripted(), 6)
    counts = []
    with attach(ForwardSite(model), session):
        for i, t in enumerate(timesteps(6)):
            before = model.calls
            for b in range(1 if i == 3 else 2):
                model(noise() * (1 + t), t, context=b)
            counts.append(model.calls - before)
    # At 0 there is nothing to predict from, though the policy skips. At 4 the second branch is stale.
    assert counts == [2, 2, 0, 1, 1, 0]
    assert [record.computed for record in session.records] == [True, True, False, True, False, False]


def test_another_shape_within_a_generation_is_a_new_state():
    model, session = Tiny(), session_of(tau=100.0, align=0, steps=8)
    with attach(ForwardSite(model), session):
        for i, t in enumerate(timesteps(8)):
            model(noise(size=12 if i < 4 else 24) * (1 + t), t)
            model(noise(size=12 if i < 3 else 24) * (1 + t), t)
    records = session.records
    assert [record.computed for record in records] == [True, True, False, False, True, True, False, True]
    assert records[4].decision.forced
    assert records[4].decision.ratio is None
    # The second branch changed its shape one step before: computed then, though the step was skipped.
    assert session.transformer_calls == 2 * 5 + 1


def test_storage_is_x_and_y_per_branch_and_empty_after_the_last_step():
    model, session = Tiny(), session_of(tau=0.3, steps=12)
    size = 24 * 4
    kept = []
    with attach(ForwardSite(model), session):
        for t in timesteps(12):
            for b in range(2):
                model(noise() * (1 + t), t, context=b)
            kept.append(session.cache_bytes // size)
            assert session.cache_bytes % size == 0
    expected = [4 if record.computed else 5 for record in session.records[:-1]]
    assert kept == [*expected, 0]
    assert 5 in kept
    # While computing, the first branch still holds its last output to measure against.
    assert session.peak_cache_bytes == 5 * size
    assert session.cache_bytes == 0


def test_what_a_copy_replaces_is_freed_first(monkeypatch):
    session, held = session_of(tau=0.3), []

    def watched(tensors):
        held.append(session.cache_bytes // (24 * 4))
        return tensor_tools.snapshot(tensors)

    for module in (skipped_call, computed_call):
        monkeypatch.setattr(module, "snapshot", watched)
    attached_run(session, noise())
    # Computed: x is copied while only the last y is kept, then y while only x is. Skipped: x_c and y_c stay.
    computed = [record.computed for record in session.records]
    assert held == [0, 1, *(size for step in computed[1:-1] for size in ([1, 1] if step else [2]))]
    assert 2 in held


def test_records_carry_what_was_measured_and_are_reported_once_each():
    reported = []
    session = session_of(on_step=lambda record: reported.append((record.index, record.seconds)))
    attached_run(session, noise(), branches=2)
    assert [index for index, _ in reported] == list(range(12))
    assert all(seconds > 0 for _, seconds in reported)
    for record in session.records:
        measured = record.measured
        assert (measured.input_change is None) == (record.index == 0)
        assert (measured.output_norm is not None) == record.computed
        assert (measured.output_span is not None) == (record.computed and record.index > 0)
        assert (record.innovation is not None) == (record.computed and record.index > 1)


def test_custom_predictors_are_asked_for_every_skipped_call():
    made = []

    class Counting(ResidualReuse):
        def __init__(self):
            self.asked = 0
            made.append(self)

        def predict(self, call, history):
            self.asked += 1
            return super().predict(call, history)

    session = session_of(predictor=Counting)
    attached_run(session, noise(), branches=2)
    asked = [predictor.asked for predictor in made if predictor.asked]
    assert len(asked) == 2, "each branch has a predictor of its own"
    assert sum(asked) == session.transformer_calls_saved > 0


def test_finish_in_the_middle_of_a_call_does_no_harm():
    session = session_of()
    assert session.enter(1.0, (noise(),)) is None
    session.finish()
    session.leave((noise(),))
    assert len(session.records) == 1
    assert session.enter(0.5, (noise(),)) is None
    assert [record.index for record in session.records] == [0]


def test_leave_needs_an_open_call():
    with pytest.raises(AssertionError, match="enter"):
        session_of().leave((noise(),))


class Reads:
    """Counts how often a value leaves a tensor."""

    def __init__(self, monkeypatch):
        self.count = 0
        for name in ("tolist", "item", "__float__", "__bool__", "__int__"):
            monkeypatch.setattr(torch.Tensor, name, self.counted(getattr(torch.Tensor, name)))

    def counted(self, original):
        def read(tensor):
            self.count += 1
            return original(tensor)

        return read


def reads_per_step(session, monkeypatch, make_timestep, branches=2, reuse=True):
    """As on a device whose values cost a wait."""
    monkeypatch.setattr(tensor_tools, "reading_is_free", lambda tensor: False)
    inputs = [noise() * (1 + t) for t in timesteps(12)]
    model, counts = Tiny(), []
    with attach(ForwardSite(model), session):
        reads = Reads(monkeypatch)
        for x, t in zip(inputs, timesteps(12), strict=True):
            before, shared = reads.count, make_timestep(t)
            for b in range(branches):
                model(x, shared if reuse else make_timestep(t), context=b)
            counts.append(reads.count - before)
        monkeypatch.undo()
    return counts


@pytest.mark.parametrize("predictor", ["residual", "calibrated"])
@pytest.mark.parametrize("method", ["off", "navicache", "easycache"])
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_one_wait_per_step(method, branches, predictor, monkeypatch):
    session = session_of(method, predictor=partial(make_predictor, predictor))
    assert reads_per_step(session, monkeypatch, torch.tensor, branches) == [1] * 12
    free = session_of(method, predictor=partial(make_predictor, predictor))
    with attach(ForwardSite(model := Tiny()), free):
        for t in timesteps(12):
            for b in range(branches):
                model(noise() * (1 + t), torch.tensor(t), context=b)
    for one, other in zip(session.records, free.records, strict=True):
        assert one.computed == other.computed
        assert one.decision.ratio == other.decision.ratio
        assert one.timestep == pytest.approx(other.timestep)


def test_a_number_as_timestep_needs_a_wait_only_to_measure(monkeypatch):
    assert set(reads_per_step(session_of(), monkeypatch, float)) <= {0, 1}
    assert reads_per_step(session_of("off"), monkeypatch, float) == [0] * 12


def test_a_copied_timestep_costs_one_more_wait_and_changes_nothing(monkeypatch):
    session = session_of()
    assert max(reads_per_step(session, monkeypatch, torch.tensor, 2, reuse=False)) == 2
    assert [record.index for record in session.records] == list(range(12))
    assert session.transformer_calls_saved > 0


@pytest.mark.parametrize("inference", [False, True])
def test_a_timestep_tensor_written_in_place_is_noticed(inference, monkeypatch):
    monkeypatch.setattr(tensor_tools, "reading_is_free", lambda tensor: False)
    model, session = Tiny(), session_of()
    with torch.inference_mode(inference), attach(ForwardSite(model), session):
        timestep = torch.zeros(())
        for t in timesteps(12):
            timestep.fill_(t)
            for b in range(2):
                model(noise() * (1 + t), timestep, context=b)
    assert [record.index for record in session.records] == list(range(12))


def test_a_second_generation_is_noticed_where_reads_cost(monkeypatch):
    monkeypatch.setattr(tensor_tools, "reading_is_free", lambda tensor: False)
    model, session = Tiny(), session_of()
    with attach(ForwardSite(model), session):
        sample(model, noise(4), timesteps(12)[:7], 2)
        sample(model, noise(), timesteps(12), 2)
    assert [r.computed for r in session.records] == [fact[2] for fact in fresh_facts(branches=2)[0]]


def test_gradients_are_not_recorded():
    session = session_of(tau=100.0, steps=6)
    with attach(ForwardSite(model := Tiny()), session):
        outputs = [model((noise() * (1 + t)).requires_grad_(), t) for t in timesteps(6)]
    assert not outputs[3].requires_grad


class FakeEvent:
    """A CUDA event on a device that finishes its work when told."""

    clock = 0.0
    done = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self, stream):
        FakeEvent.clock += 5.0
        self.at = FakeEvent.clock

    def query(self):
        return self.at <= FakeEvent.done

    def synchronize(self):
        FakeEvent.done = max(FakeEvent.done, self.at)

    def elapsed_time(self, end):
        return end.at - self.at


def test_device_time_is_read_when_the_device_is_done(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(session_module, "CallTimer", lambda device: CallTimer(torch.device("cuda")))
    FakeEvent.clock = FakeEvent.done = 0.0
    reported = []
    session = session_of("off", steps=4, on_step=lambda record: reported.append(record.seconds))
    with attach(ForwardSite(model := Tiny()), session):
        for i, t in enumerate(timesteps(4)):
            model(noise(), t)
            model(noise(), t)
            if i == 1:
                FakeEvent.done = FakeEvent.clock - 20
    # Each call lasts one tick of 5 ms. After step 1 the device is done with step 0 only.
    assert reported == [None, None, None, 0.01]
    assert [record.seconds for record in session.records] == [0.01] * 4


def test_mean_abs_of_many_elements_does_not_stall():
    values = torch.full((2**25,), 0.5)
    assert tensor_tools.mean_abs((values,)).item() == pytest.approx(0.5, rel=1e-4)
    pair = (torch.tensor([1.0, -3.0]), torch.tensor([[2.0, 0.0, 0.0]]))
    assert tensor_tools.mean_abs(pair).item() == pytest.approx(6 / 5)


def test_sums_are_the_same_on_any_number_of_threads():
    """Of latents larger than what torch leaves to one thread; a last bit would reach what is predicted."""
    many = [noise(seed, 16 * 41 * 64).reshape(16, 41, 8, 8) for seed in range(9)]
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append([tensor_tools.mean_abs((latents,)).item() for latents in many])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
    assert found[0] == pytest.approx([latents.double().abs().mean().item() for latents in many], rel=1e-6)


def test_timesteps_of_the_toy_fall():
    assert all(a > b for a, b in pairwise(timesteps(12)))
