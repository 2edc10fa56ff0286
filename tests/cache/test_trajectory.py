"""Recording a generation, and replaying policies on it: a session's decisions, to the last bit."""

from __future__ import annotations

import gc
import json
import math
import weakref
from enum import Enum
from itertools import pairwise

import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_forward_site import VARIANTS, attached_run, noise, session_of
from toys import Stack, Tiny, sample, timesteps

from navicache_cli.cache import EasyCache, ForwardSite, Recorder, StackSite, Trajectory, attach, replay
from navicache_cli.cache.recording.recorder import Place
from navicache_cli.errors import OutputError, SiteError, UsageError


def walk(session, inputs, outputs, branches):
    """Show a session this path, whatever it predicts for the steps it skips."""
    for i, t in enumerate(timesteps(len(inputs))):
        for branch in range(branches):
            if session.enter(t, (inputs[i],)) is None:
                session.leave((outputs[i] + branch,))
    session.finish()
    return session.records


def recorded(inputs, outputs, branches=1):
    recorder = Recorder()
    walk(session_of("off", steps=len(inputs), recorder=recorder), inputs, outputs, branches)
    return recorder.trajectory


def facts(steps):
    """What `replay` and a session's records have in common."""
    return [
        (
            step.decision.compute,
            step.decision.forced,
            step.decision.ratio,
            step.decision.variance,
            step.decision.predicted_change,
            step.decision.accumulated_error,
            step.innovation,
        )
        for step in steps
    ]


def facts_of(records):
    return [
        (
            r.computed,
            r.decision.forced,
            r.decision.ratio,
            r.decision.variance,
            r.decision.predicted_change,
            r.decision.accumulated_error,
            r.innovation,
        )
        for r in records
    ]


@pytest.mark.parametrize(("method", "estimator"), VARIANTS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tau=st.floats(0, 3),
    align=st.integers(0, 6),
    steps=st.integers(1, 20),
    pace=st.floats(0.01, 1),
    branches=st.integers(1, 2),
)
def test_replay_decides_as_a_session_on_the_same_path(
    method, estimator, seed, tau, align, steps, pace, branches
):
    random = torch.Generator().manual_seed(seed)
    inputs = noise(seed) + pace * torch.randn(steps, 24, generator=random).cumsum(0)
    outputs = torch.tanh(inputs) + 0.3 * torch.randn(steps, 24, generator=random)
    session = session_of(method, tau, align, steps, estimator)
    records = walk(session, inputs, outputs, branches)
    policy = session_of(method, tau, align, steps, estimator).policy
    assert facts(replay(policy, recorded(inputs, outputs, branches))) == facts_of(records)


def test_some_of_these_paths_skip_over_several_steps():
    """The property above would say little on paths where every step is computed."""
    inputs = noise() + 0.05 * torch.randn(20, 24, generator=torch.Generator().manual_seed(0)).cumsum(0)
    steps = replay(session_of("easycache", 0.15, 3, 20).policy, recorded(inputs, torch.tanh(inputs)))
    computed = [index for index, step in enumerate(steps) if step.decision.compute]
    assert max(b - a for a, b in pairwise(computed)) > 2
    assert len(computed) > 6


@pytest.mark.parametrize("in_place", [False, True])
def test_a_recording_holds_the_span_of_every_pair(in_place):
    latents, schedule = noise(), timesteps(9)
    inputs, outputs = [], []

    class Watched(Tiny):
        def forward(self, x, t, context=0):
            y = super().forward(x, t, context)
            if context == 0:
                inputs.append(x.tolist())
                outputs.append(y.tolist())
            return y

    model, recorder = Watched(), Recorder()
    session = session_of("off", steps=9, recorder=recorder)
    with attach(ForwardSite(model), session):
        final, _ = sample(model, latents.clone(), schedule, 2, in_place=in_place)
    bare, _ = sample(Tiny(), latents.clone(), schedule, 2, in_place=in_place)
    assert torch.equal(final, bare), "a recording changes nothing"
    found = recorder.trajectory
    for rows, values in ((found.input_spans, inputs), (found.output_spans, outputs)):
        assert [len(row) for row in rows] == list(range(9))
        for i, row in enumerate(rows):
            assert row == pytest.approx([oracle.span(values[i], values[j]) for j in range(i)], rel=1e-5)
    assert found.output_norms == pytest.approx([oracle.norm(y) for y in outputs], rel=1e-5)


def test_a_stack_of_blocks_is_recorded_too():
    model, recorder = Stack(), Recorder()
    with attach(StackSite(model, model.in_order()), session_of("off", steps=3, recorder=recorder)):
        for t in timesteps(3):
            model(noise().reshape(2, 12) * t, torch.tensor([t]))
    assert recorder.trajectory.total_steps == 3
    scales = timesteps(3)
    x = 1.5 * noise()
    assert recorder.trajectory.input_spans[2][0] == pytest.approx(
        (x * scales[2] - x * scales[0]).abs().mean().item(), rel=1e-5
    )


def test_each_generation_is_recorded_by_itself_and_nothing_is_kept():
    model, recorder = Tiny(), Recorder()
    session = session_of("off", recorder=recorder)
    with attach(ForwardSite(model), session):
        sample(model, noise(3), timesteps(12)[:7])
        assert recorder.trajectory is None
        assert session.cache_bytes == 7 * 2 * 24 * 4
        sample(model, noise(), timesteps(12))
    assert session.cache_bytes == 0
    assert session.peak_cache_bytes == 12 * 2 * 24 * 4
    alone = Recorder()
    attached_run(session_of("off", recorder=alone), noise())
    assert recorder.trajectory == alone.trajectory
    assert recorder.trajectory.total_steps == 12


def test_a_failed_generation_leaves_no_recording():
    class Failing(Tiny):
        def forward(self, x, t, context=0):
            if self.calls == 4:
                raise RuntimeError("out of luck")
            return super().forward(x, t, context)

    model, recorder = Failing(), Recorder()
    session = session_of("off", recorder=recorder)
    with pytest.raises(RuntimeError), attach(ForwardSite(model), session):
        sample(model, noise(), timesteps(12))
    assert recorder.trajectory is None
    assert session.cache_bytes == 0


def test_latents_are_freed_with_the_generation():
    recorder = Recorder()
    recorder.enter((noise(),), Place(0, 1.0, (), "", leads=True))
    recorder.leave((noise(1),))
    kept = weakref.ref(recorder._inputs[0][0])
    recorder.finish()
    gc.collect()
    assert kept() is None


def test_off_without_a_recorder_keeps_and_measures_nothing():
    session = session_of("off")
    attached_run(session, noise())
    assert session.peak_cache_bytes == 0
    assert {record.measured for record in session.records} == {type(session.records[0].measured)()}
    assert not session.reads_outputs


def test_another_shape_in_the_middle_is_an_error():
    session = session_of("off", recorder=Recorder())
    session.enter(0.9, (noise(size=8),))
    session.leave((noise(size=8),))
    with pytest.raises(SiteError, match="one shape at all steps"):
        session.enter(0.8, (noise(size=4),))


def test_numbers_that_are_not_finite_become_null_and_compute():
    inputs = noise() + 0.05 * torch.arange(12)[:, None]
    outputs = torch.tanh(inputs)
    outputs[6] = math.inf
    trajectory = recorded(inputs, outputs)
    document = trajectory.to_json()
    text = json.dumps(document, allow_nan=False)
    assert document["output_norms"][6] is None
    again = Trajectory.from_json(json.loads(text))
    assert again.to_json() == document
    policies = [EasyCache(5.0, 2), EasyCache(5.0, 2)]
    ran = [
        [step.decision.compute for step in replay(policy, one)]
        for policy, one in zip(policies, [trajectory, again], strict=True)
    ]
    assert ran[0] == ran[1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d["input_spans"][2].pop(), "trajectory/input_spans"),
        (lambda d: d["output_spans"].pop(), "trajectory/output_spans"),
        (lambda d: d["output_norms"].append(1.0), "trajectory/input_spans"),
        (lambda d: d["output_norms"].__setitem__(1, 10**400), "too large"),
    ],
)
def test_damaged_recordings_are_refused(damage, message):
    inputs = noise() + torch.arange(4)[:, None]
    document = recorded(inputs, torch.tanh(inputs)).to_json()
    damage(document)
    with pytest.raises(OutputError, match=message):
        Trajectory.from_json(document)


def test_a_policy_that_decides_by_something_else_is_refused():
    class Signal(Enum):
        FIRST_BLOCK = "what the first block adds"

    class Foreign(EasyCache):
        name = "foreign"
        signal = Signal.FIRST_BLOCK

    inputs = noise() + torch.arange(4)[:, None]
    with pytest.raises(UsageError, match=r"foreign decides by more .* what the first block adds"):
        replay(Foreign(0.1, 2), recorded(inputs, torch.tanh(inputs)))
