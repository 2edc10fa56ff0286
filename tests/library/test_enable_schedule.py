"""`navicache.enable(pipe, schedule=...)`: which steps run, and where a schedule is refused."""

from __future__ import annotations

import pytest

import navicache
from navicache_cli.errors import UsageError
from navicache_cli.report.schedules import Schedule, schedules_text
from tests.library.pipelines.table import latents, make
from tests.plan.test_schedule_files import schedules_of

STRIP = "##..#.##"


def written(folder, **changes):
    facts = {"model": "diffusers", "task": "video", "name": "WanPipeline", "steps": 8, "guidance": 6.0}
    facts["schedules"] = [Schedule(1.6, STRIP, 0.01)]
    path = folder / "schedule.yaml"
    path.write_text(schedules_text(schedules_of(**{**facts, **changes})))
    return path


@pytest.mark.shows("schedule", "import navicache")
def test_a_pipeline_computes_the_steps_of_a_schedule(tmp_path):
    pipe = make()
    shift = pipe.scheduler.config.get("flow_shift", pipe.scheduler.config.get("shift"))
    with navicache.cached(pipe, speedup=1.6, schedule=written(tmp_path, shift=shift)) as cache:
        latents(pipe)
    report = cache.report()
    assert report.loops[0].marks() == STRIP.replace("#", "█").replace(".", "░")
    assert report.notes == ()
    assert "speedup=1.6, scheduled" in repr(cache)


def test_another_shift_or_guidance_is_warned_about(tmp_path):
    pipe = make()
    cache = navicache.enable(pipe, speedup=1.6, schedule=written(tmp_path, guidance=99, shift=77))
    with pytest.warns(navicache.NavicacheWarning, match="made with guidance 99"):
        latents(pipe)
    assert "made with shift 77" in cache.report().notes[1]


def test_other_steps_are_refused(tmp_path):
    pipe = make()
    navicache.enable(pipe, speedup=1.6, schedule=written(tmp_path))
    with pytest.raises(UsageError, match="schedule's 8 steps, found 6"):
        latents(pipe, steps=6)


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        ({"speedup": 1.6}, {"name": "LTXPipeline"}, "made for WanPipeline, found one for LTXPipeline"),
        ({"speedup": 1.6}, {"model": "hunyuan"}, "WanTransformer3DModel, found one for hunyuan"),
        ({}, {}, r"has a schedule for \(1.6\), found 2, 4 of 8 steps"),
        ({"threshold": 0.1}, {}, "expects a speedup"),
        ({"method": "off"}, {}, "expects a method that skips"),
    ],
)
def test_schedules_that_do_not_fit_are_refused(tmp_path, arguments, changes, said):
    with pytest.raises(UsageError, match=said):
        navicache.enable(make(), schedule=written(tmp_path, **changes), **arguments)


def test_a_model_by_itself_follows_a_schedule(tmp_path):
    pipe = make()
    cache = navicache.enable(pipe.transformer, steps=8, speedup=1.6, schedule=written(tmp_path))
    latents(pipe)
    assert cache.report().loops[0].marks() == STRIP.replace("#", "█").replace(".", "░")
    cache.disable()
