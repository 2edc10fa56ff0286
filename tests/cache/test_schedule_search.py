"""Schedules: what is recorded, what is played on it, and what the search finds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from test_forward_site import attached_run
from toys import timesteps

from navicache_cli.cache import Off, Session
from navicache_cli.cache.growth import growth
from navicache_cli.cache.policies.policy import PredictorSpec
from navicache_cli.cache.policies.scheduled import Scheduled, read_strip, strip
from navicache_cli.cache.predictors.factory import maker_of
from navicache_cli.cache.recording.output_recorder import OutputRecorder, combination
from navicache_cli.cache.recording.play import Play, played
from navicache_cli.cache.recording.recording import Recording
from navicache_cli.cache.recording.search import find_schedule
from navicache_cli.errors import SiteError, UsageError

CALIBRATED = maker_of(PredictorSpec("calibrated"))
STEPS, SHAPE = 12, (3, 4, 5)
LISTS = ["#.#.#.#.#.##", "##..##...#.#", "#..........#", "####.#..#.##", "############"]


def noise(shape=SHAPE, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outputs_of(branches, steps=STEPS, shape=SHAPE):
    """Outputs that turn slowly, as a model's do, with some jitter: [step][branch]."""
    generator = torch.Generator().manual_seed(branches)
    start, turn, jitter = (torch.randn(3, branches, *shape, generator=generator) for _ in range(3))
    return [
        [
            start[0, b] + torch.sin(2 * t + start[1, b]) * turn[0, b] + 0.02 * jitter[i % 3, b] * (i + 1)
            for b in range(branches)
        ]
        for i, t in enumerate(timesteps(steps))
    ]


def walk(session, outputs, names=None):
    """Show a session these outputs; returns what a sampler gets of each call."""
    seen = []
    for i, t in enumerate(timesteps(len(outputs))):
        for branch, y in enumerate(outputs[i]):
            x = noise(y.shape, seed=i)
            with session.branch(*([names[branch]] if names else [])):
                predicted = session.enter(t, (x,))
            if predicted is None:
                session.leave((y,))
            seen.append(y if predicted is None else predicted[0])
    session.finish()
    return seen


def recorded(outputs, guidance=2.0, names=None, offload=False):
    recorder = OutputRecorder(guidance, offload)
    walk(Session(Off(), len(outputs), recorder=recorder), outputs, names)
    assert recorder.cache_bytes == 0
    return recorder.recording


def following(text):
    """A session that follows a schedule and knows the guidance of the recording."""
    session = Session(Scheduled(read_strip(text)), STEPS)
    session.guidance = 2.0
    return session


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("text", LISTS)
def test_a_play_predicts_what_a_session_does(branches, text):
    """By all inner products with the recorded outputs, and its own length."""
    outputs = outputs_of(branches)
    recording = recorded(outputs)
    real = walk(following(text), outputs)
    flat = torch.stack([y.flatten() for step in outputs for y in step])
    short = torch.cat([call[0] for step in recording.outputs for call in step])
    assert torch.allclose(short @ short.T, flat @ flat.T, rtol=1e-4, atol=1e-3)
    play = Play(recording, CALIBRATED)
    for index, compute in enumerate(read_strip(text)):
        play.step(compute)
        for branch, (found,) in enumerate(play.outputs):
            expected = real[index * branches + branch].flatten()
            assert torch.allclose(short @ found[0], flat @ expected, rtol=1e-4, atol=1e-3)
            assert float(found.norm()) == pytest.approx(float(expected.norm()), rel=1e-4)


def test_the_error_on_the_path_is_that_of_the_latents():
    """Of a model that looks at the time alone, where nothing leaves the path."""
    outputs, guidance, times = outputs_of(2), 3.0, [*timesteps(STEPS), 0.0]
    recording = replace(recorded(outputs, guidance), error_weights=(1.0,) * STEPS)

    def path(ys):
        x, found = torch.zeros_like(ys[0]), []
        for i in range(STEPS):
            conditional, unconditional = ys[2 * i : 2 * i + 2]
            x = x + (times[i + 1] - times[i]) * (unconditional + guidance * (conditional - unconditional))
            found.append(x)
        return found

    for text in LISTS[:-1]:
        real = path(walk(following(text), outputs))
        true = path([y for step in outputs for y in step])
        furthest = max(float((a - b).norm()) for a, b in zip(real, true, strict=True))
        found = played(recording, read_strip(text), CALIBRATED)
        assert found.worst * recording.scale * times[0] == pytest.approx(furthest, rel=1e-3)
    assert recording.scale == pytest.approx(float(noise(SHAPE, seed=STEPS - 1).norm()), rel=1e-5)
    assert played(recording, read_strip(LISTS[-1]), CALIBRATED).worst == 0


def test_batched_guidance_is_recorded_as_two_branches_are():
    """Unconditional first, as diffusers has it; played by one predictor, as in a session."""
    apart = outputs_of(2)
    together = [[torch.stack([unconditional, conditional])] for conditional, unconditional in apart]
    recording, text = recorded(together), read_strip(LISTS[0])
    assert recording.mix.tolist() == [[-1.0, 2.0]]
    real = walk(Session(Scheduled(text), STEPS), together)
    play = played(recording, text[:2], CALIBRATED)
    assert torch.allclose(play.outputs[0][0].norm(dim=1), real[1].flatten(1).norm(dim=1), rtol=1e-4)
    assert combination([()], 2, 2.0, conditional_first=True).tolist() == [[2.0, -1.0]]
    assert recorded(together, guidance=1.0).mix.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("names", "parts", "mix"),
    [
        ([()], 1, [[1.0]]),
        ([(), ()], 1, [[3.0, -2.0]]),
        ([("cond",), ("uncond",)], 1, [[3.0, -2.0]]),
        ([("uncond",), ("cond",)], 1, [[-2.0, 3.0]]),
        ([(), ()], 2, [[3.0, 0.0, -2.0, 0.0], [0.0, 3.0, 0.0, -2.0]]),
        ([("window", 1), ("window", 2), ("window", 3)], 1, torch.eye(3).tolist()),
    ],
)
def test_how_outputs_are_put_together(names, parts, mix):
    assert combination(names, parts, 3.0).tolist() == mix


def test_offloaded_outputs_give_the_same_recording():
    outputs = outputs_of(2)
    here, there = recorded(outputs), recorded(outputs, offload=True)
    assert torch.equal(here.products, there.products)
    assert here.scale == there.scale


def test_a_recorder_keeps_the_outputs_it_says():
    recorder = OutputRecorder()
    session = Session(Off(), STEPS, recorder=recorder)
    y = outputs_of(1)[0][0]
    for t in timesteps(STEPS)[:5]:
        assert session.enter(t, (noise(y.shape),)) is None
        session.leave((y,))
    assert recorder.cache_bytes == session.cache_bytes == 5 * y.nbytes
    session.clear()
    assert recorder.cache_bytes == 0
    assert recorder.recording is None


def test_steps_with_other_calls_are_refused():
    outputs = outputs_of(2)
    outputs[4] = outputs[4][:1]
    with pytest.raises(SiteError, match="2 calls of the first step in all steps, found others in step 4"):
        recorded(outputs)
    outputs = outputs_of(1)
    outputs[4] = [torch.zeros(3, 4, 6)]
    with pytest.raises(SiteError, match=r"outputs of \(1, 60\)|outputs of \(3, 20\)"):
        recorded(outputs)


def test_a_model_that_takes_over_is_predicted_from_its_own_outputs():
    outputs, recorder = outputs_of(1), OutputRecorder()
    session = Session(Off(), STEPS, recorder=recorder)
    for i, t in enumerate(timesteps(STEPS)):
        session.enter(t, (noise(),), model="high" if i < 5 else "low")
        session.leave((outputs[i][0],))
    session.finish()
    recording = recorder.recording
    assert recording.taken_over == {5}
    assert find_schedule([recording], 4, CALIBRATED, moves=200).computed[5]
    play = played(recording, read_strip("##..####.")[:7], CALIBRATED)
    play.step(False)
    # Held: two outputs of the second model are one change, from which nothing has been learned yet.
    assert not torch.allclose(play.outputs[0][0], recording.outputs[4][0][0])


def test_a_copy_of_a_play_goes_on_by_itself():
    recording, text = recorded(outputs_of(2)), read_strip(LISTS[1])
    play = played(recording, text[:6], CALIBRATED)
    copy = play.copy()
    for compute in (False, False, True, True, False, True):
        copy.step(compute)
    for compute in text[6:]:
        play.step(compute)
    assert play.worst == played(recording, text, CALIBRATED).worst
    assert (
        copy.worst == played(recording, (*text[:6], False, False, True, True, False, True), CALIBRATED).worst
    )


def test_the_search_finds_the_best_of_all():
    recordings = [recorded(outputs_of(branches, steps=9)) for branches in (1, 2)]

    def plays(computed):
        return [played(one, computed, CALIBRATED) for one in recordings]

    every = [tuple(i in (0, 8, *chosen) for i in range(9)) for chosen in combinations(range(1, 8), 3)]
    best = min(every, key=lambda computed: sum(math.log(play.worst) for play in plays(computed)))
    found = find_schedule(recordings, 5, CALIBRATED, moves=400)
    assert strip(found.computed) == strip(best)
    assert found.errors == pytest.approx([play.worst for play in plays(best)])
    assert found == find_schedule(recordings, 5, CALIBRATED, moves=400)


def test_early_errors_grow_most():
    levels = [0.0, 0.5, 0.72, 0.8, 0.9, 0.96, 1.0]
    grown = [growth(500 * level, 500.0) for level in levels]
    assert grown == sorted(grown)
    assert grown[:2] == [1.0, 1.0]
    assert grown[-1] == 8.0


def test_where_times_rise_errors_are_not_taken_to_grow():
    assert [growth(time, 10.0) for time in (20.0, 500.0, 1000.0)] == [1.0, 1.0, 1.0]
    assert growth(1.0, 0.0) == 1.0
    assert growth(-500.0, -1000.0) == growth(500.0, 1000.0)


def test_weights_say_where_errors_count():
    """Where late errors hardly count the steps computed are early ones, and the other way round."""
    recording = recorded(outputs_of(1))

    def computed(weights):
        weighted = Recording(
            recording.products, recording.timesteps, recording.mix, 1, recording.scale, error_weights=weights
        )
        return [i for i, c in enumerate(find_schedule([weighted], 6, CALIBRATED, moves=300).computed) if c]

    early, late = (1.0,) * 6 + (1e-6,) * 6, (1e-6,) * 6 + (1.0,) * 6
    assert sum(computed(early)) < sum(computed(late))


def test_the_last_steps_are_computed_whatever_recordings_say():
    recording = recorded(outputs_of(1))
    careless = replace(recording, error_weights=(1.0,) * 6 + (1e-9,) * 6)
    assert strip(find_schedule([careless], 10, CALIBRATED, moves=300).computed).endswith("##")
    assert strip(find_schedule([careless], 4, CALIBRATED, moves=300).computed).endswith(".#")
    short = recorded(outputs_of(1, steps=5))
    assert strip(find_schedule([short], 2, CALIBRATED).computed) == "#...#"


def test_counts_that_no_schedule_has_are_refused():
    recording = recorded(outputs_of(1))
    assert strip(find_schedule([recording], STEPS, CALIBRATED).computed) == "#" * STEPS
    assert strip(find_schedule([recording], 2, CALIBRATED).computed) == "#..........#"
    with pytest.raises(UsageError, match="at most 12 steps"):
        find_schedule([recording], STEPS + 1, CALIBRATED)
    with pytest.raises(UsageError, match="at least 2"):
        find_schedule([recording], 1, CALIBRATED)


def test_the_error_of_a_schedule_is_predicted_too():
    session = Session(Scheduled(read_strip(LISTS[1])), STEPS)
    attached_run(session, noise(24), steps=STEPS)
    skipped = [record for record in session.records if not record.computed]
    assert all(record.predicted_error > 0 for record in skipped[1:])
    bounded = Session(Scheduled(read_strip(LISTS[1])), STEPS, max_error=1e-9)
    attached_run(bounded, noise(24), steps=STEPS)
    assert all(record.computed for record in bounded.records)
    assert any(record.decision.stopped for record in bounded.records)


def test_a_scheduled_policy_follows_its_list():
    session = Session(Scheduled(read_strip(LISTS[1])), STEPS)
    walk(session, outputs_of(2))
    assert strip([record.computed for record in session.records]) == LISTS[1]
    with pytest.raises(UsageError, match="schedule's 12 steps, found 10"):
        session.begin(10)
    for text in ("", ".##", "##."):
        with pytest.raises(UsageError, match="first and the last step"):
            Scheduled(read_strip(text))
    with pytest.raises(UsageError, match="one character a step"):
        read_strip("##x#")
