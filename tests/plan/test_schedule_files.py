"""Files of schedules: what is read of them, where they hold, and what is said or refused elsewhere."""

from __future__ import annotations

import math

import pytest

from navicache_cli.cache.policies.scheduled import Scheduled, strip
from navicache_cli.errors import UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.method import about_options, policy_for
from navicache_cli.plan.plan import resolve
from navicache_cli.plan.schedules import SHIPPED, about_schedule, check_made_for
from navicache_cli.plan.setting import in_video
from navicache_cli.report.report import ModelIdentity
from navicache_cli.report.schedules import Schedule, Schedules, read_schedules, schedules_text
from navicache_cli.setup.checks import schedules_checks

HALF, THIRD = "##.#.#.#.#.#", "#..#..#....#"


def schedules_of(**changes):
    facts = {
        "source": "navicache schedule", "model": "tiny", "task": "t2v", "name": "tiny t2v",
        "weights_digest": "sha256:0", "steps": 12, "solver": "unipc", "shift": 5.0, "guidance": 4.0,
        "size": "64x64", "frames": 17, "predictor": "calibrated", "recordings": 2,
        "schedules": [Schedule(1.7, HALF, 0.01), Schedule(3.0, THIRD, 0.02)],
    }  # fmt: skip
    return Schedules(**{**facts, **changes})


def written(folder, **changes):
    path = folder / "schedule.yaml"
    path.write_text(schedules_text(schedules_of(**changes)), "utf-8")
    return str(path)


def plan_of(**flags):
    return resolve([Layer("--{name}", {"steps": 12, **flags})])


def test_a_file_is_read_as_it_was_written(tmp_path):
    assert read_schedules(written(tmp_path)) == schedules_of()
    assert f"computed: '{HALF}'" in (tmp_path / "schedule.yaml").read_text("utf-8")


def test_a_plan_follows_the_schedule_of_its_budget(tmp_path):
    path = written(tmp_path)
    for budget in ({"speedup": 3}, {"compute": 1 / 3}):
        plan = plan_of(schedule=path, **budget)
        policy = policy_for(plan)
        assert isinstance(policy, Scheduled)
        assert strip(policy.computed) == THIRD
        assert (plan.predictor, plan.provenance["predictor"]) == ("calibrated", "schedule")
        assert plan.files() == {"schedule": [path]}
        assert about_schedule(plan) == about_options(plan) == []
    assert plan_of(schedule=path, speedup=3, predictor="hold").predictor == "hold"
    assert plan.uncached().files() == {}


@pytest.mark.parametrize(
    ("flags", "said", "told"),
    [
        ({}, r"has a schedule for \(1.7, 3\), found none", "--speedup 1.7"),
        ({"speedup": 2}, r"\(1.7, 3\), found 2, 6 of 12 steps", "navicache schedule --speedup"),
        ({"speedup": 3, "steps": 10}, "for steps 10, found one for 12", "--steps 10"),
        ({"speedup": 3, "method": "teacache"}, "navicache or easycache, found 'teacache'", "drop"),
        ({"threshold": 0.1}, "found none", "--speedup"),
    ],
)
def test_what_a_schedule_does_not_hold_is_refused(tmp_path, flags, said, told):
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(schedule=written(tmp_path), **flags)
    assert told in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "wan", "task": "t2v-1.3B"}, "for model tiny, found one for wan"),
        ({"task": "i2v"}, "for task t2v, found one for i2v"),
    ],
)
def test_the_schedule_of_another_model_is_refused(tmp_path, changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(schedule=written(tmp_path, **changes), speedup=3)
    assert "navicache schedule --model tiny" in caught.value.hint


def test_a_pipeline_of_another_kind_is_refused_once_it_is_known(tmp_path):
    plan = plan_of(schedule=written(tmp_path, name="WanPipeline Wan-AI/some"), speedup=3)
    check_made_for(plan, ModelIdentity("WanPipeline other/one", "", "", ""))
    with pytest.raises(UsageError, match="one for LTXPipeline, found one for WanPipeline"):
        check_made_for(plan, ModelIdentity("LTXPipeline", "", "", ""))


def test_other_conditions_are_warned_about(tmp_path):
    path = written(tmp_path, guidance=5.0, shift=3.0, solver="dpm++", predictor="hold")
    said = about_schedule(plan_of(schedule=path, speedup=3))
    assert len(said) == 4
    assert "made with guidance 5, this video has 4: " in said[2]
    assert about_schedule(plan_of(schedule=path, method="off", mode="off")) == []


def test_what_has_no_effect_beside_a_schedule(tmp_path):
    plan = plan_of(schedule=written(tmp_path), speedup=3, align_steps=4, estimator="dual")
    assert [note.split(" has no effect with a schedule")[0] for note in about_options(plan)] == [
        "align-steps",
        "estimator",
    ]
    assert not {"align_steps", "estimator"} & set(in_video(plan.values()))
    assert "schedule" in in_video(plan.values())
    assert "schedule" not in in_video(plan_of(mode="off").values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected object"),
        ("{", "not valid YAML"),
        ("model: tiny", "version"),
        ("version: 9", "version"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "any.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_schedules(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (HALF, ".#.#.#.#.#.#", "schedules/0/computed"),
        (HALF, "##.#.#.#.#.x", "schedules/0/computed"),
        (HALF, "##.#.#", "schedules of 12 steps, found one of 6"),
        ("speedup: 3.0", "speedup: 0.3", "schedules/1/speedup"),
        ("speedup: 3.0", "speedup: .inf", "finite"),
        ("steps: 12", "steps: 1000000000", "steps"),
        ("recordings: 2", "recordings: 2\nmore: 1", "unknown key"),
        ("model: tiny", "model: [tiny]", "model"),
    ],
)
def test_keys_that_do_not_fit_are_named(tmp_path, old, new, said):
    text = schedules_text(schedules_of())
    assert old in text
    path = tmp_path / "schedule.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(schedule=str(path), speedup=3)
    assert caught.value.hint


def test_files_that_are_none_are_refused(tmp_path):
    for path, said in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "it is a folder")):
        with pytest.raises(UsageError, match=said):
            plan_of(schedule=str(path), speedup=3)


@pytest.mark.parametrize("speedup", [1.5, 2, 2.5, 3])
def test_tiny_comes_with_schedules(speedup):
    """Made by `navicache schedule --speedup 1.5,2,2.5,3 -o presets/schedule-tiny-t2v.yaml --overwrite`."""
    plan = resolve([Layer("--{name}", {"schedule": SHIPPED, "speedup": speedup})])
    assert sum(policy_for(plan).computed) == math.floor(50 / speedup + 0.5)
    assert about_schedule(plan) == []
    assert plan.files() == {}


def test_a_model_that_comes_with_none_says_how_to_make_one():
    with pytest.raises(UsageError, match=r"wan t2v-1\.3B comes with none") as caught:
        resolve([Layer("--{name}", {"model": "wan", "schedule": SHIPPED, "speedup": 2})])
    assert "navicache schedule --model wan --task t2v-1.3B" in caught.value.hint


def test_doctor_names_what_comes_with_a_model():
    (row,) = schedules_checks("tiny", "t2v")
    assert (row.state, row.found) == (
        "ok",
        "1.5x, 2x, 2.5x, 3x at 50 steps: --schedule preset --speedup 2",
    )
    assert schedules_checks("wan", "t2v-1.3B") == schedules_checks("nothing", "") == []
