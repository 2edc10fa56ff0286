"""The drawn world, and the judge that looks only at pixels: it must be right where the truth is known."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from backends.tiny import world
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.evaluate import through_codec, wanted
from backends.tiny.judge import Wanted, judge
from backends.tiny.text import COLOURS, SHAPES, tokenize


@pytest.fixture(scope="module")
def drawn() -> list[tuple[world.Scene, np.ndarray]]:
    rng = np.random.default_rng(7)
    scenes = [world.sample_scene(rng) for _ in range(60)]
    return [(scene, world.render(scene)) for scene in scenes]


def test_judge_agrees_with_the_truth(drawn):
    verdicts = [judge(frames, wanted(scene)) for scene, frames in drawn]
    for part in ("colour", "motion", "background", "shape"):
        assert np.mean([getattr(v, part) for v in verdicts]) >= 0.98, part


def test_judge_agrees_with_the_truth_that_the_codec_leaves(drawn):
    pipeline = TinyPipeline(shipped_weights())
    shapes = []
    for scene, frames in drawn:
        verdict = asdict(judge(through_codec(pipeline, frames), wanted(scene)))
        shapes.append(verdict.pop("shape"))
        assert all(verdict.values()), world.describe(scene)
    assert np.mean(shapes) >= 0.8, "of stars the codec leaves too little of the points for this judge"


def test_judge_disagrees_with_another_prompt(drawn):
    others = [wanted(scene) for scene, _ in drawn[1:]] + [wanted(drawn[0][0])]
    verdicts = [judge(frames, other) for (_, frames), other in zip(drawn, others, strict=True)]
    for part in ("colour", "motion", "background", "shape"):
        assert np.mean([getattr(v, part) for v in verdicts]) <= 0.4, part


def test_judge_of_an_empty_picture():
    verdict = judge(
        np.full((17, 64, 64, 3), 128, np.uint8), Wanted((("red", "still", "ring"),), "dark", "striped")
    )
    assert not verdict.motion
    assert not verdict.shape
    assert not verdict.background


def test_every_description_can_be_read(drawn):
    rng = np.random.default_rng(0)
    for scene, _ in drawn:
        assert not tokenize(world.describe(scene)).unknown
        assert not tokenize(world.describe(scene, rng)).unknown


def test_same_seed_same_scene():
    first, second = (world.render(world.sample_scene(np.random.default_rng(5))) for _ in range(2))
    assert (first == second).all()
    assert first.shape == (17, 64, 64, 3)


def test_held_out_objects_are_few_and_never_drawn_for_training():
    held_out = {
        (c, s, m) for c in COLOURS for s in SHAPES for m in world.MOTIONS if world.is_held_out(c, s, m)
    }
    assert 5 <= len(held_out) <= 25
    rng = np.random.default_rng(1)
    trained = [(t.colour, t.shape, t.motion) for _ in range(300) for t in world.sample_scene(rng).things]
    assert not held_out & set(trained)
    tested = [
        (t.colour, t.shape, t.motion)
        for _ in range(30)
        for t in world.sample_scene(rng, held_out=True).things
    ]
    assert set(tested) <= held_out


def test_two_objects_stand_apart_and_in_reading_order():
    rng = np.random.default_rng(2)
    pairs = [world.sample_scene(rng, two_objects=1.0).things for _ in range(100)]
    order = np.array([(b.x + b.y - a.x - a.y).mean() for a, b in pairs])
    gap = np.array([(np.hypot(a.x - b.x, a.y - b.y) - a.radius - b.radius).min() for a, b in pairs])
    assert np.mean((order >= world.READING_ORDER) & (gap > 0)) >= 0.98
    assert order.min() > 0


def test_share_of_two_objects():
    rng = np.random.default_rng(3)
    for share in (0.0, 0.5, 1.0):
        counts = [len(world.sample_scene(rng, two_objects=share).things) for _ in range(200)]
        assert np.mean(np.array(counts) == 2) == pytest.approx(share, abs=0.1)


def test_unknown_shape_and_texture():
    with pytest.raises(ValueError, match="shape"):
        world.shape_distance("blob", np.zeros(1), np.zeros(1), np.ones(1))
