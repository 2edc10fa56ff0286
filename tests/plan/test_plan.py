"""Layers merge in order, every value knows its source, and what cannot work is refused with a next step."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.layers import Layer, environment_layer
from navicache_cli.plan.options import OPTIONS
from navicache_cli.plan.plan import build_plan, resolve
from navicache_cli.plan.presets import load_presets, read_yaml
from navicache_cli.run.generate import read_prompt
from navicache_cli.run.names import result_places, slug


def plan_of(**flags):
    return resolve([Layer("--{name}", flags)])


def test_defaults_are_complete():
    plan = resolve([])
    assert (plan.model, plan.mode, plan.method) == ("tiny", "fast", "navicache")
    assert plan.prompt
    assert set(plan.provenance) == set(OPTIONS) == set(plan.values())


# The table of presets as published (method.md's source: NaviCache, arXiv 2606.26795).
PUBLISHED = {
    "wan": ({"fast": 0.07, "mid": 0.05, "slow": 0.04}, 10),
    "hunyuan": ({"fast": 0.040, "mid": 0.035, "slow": 0.025}, 5),
    "opensora": ({"fast": 0.55, "mid": 0.35, "slow": 0.15}, 5),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_presets(model):
    thresholds, align_steps = PUBLISHED[model]
    for mode, threshold in thresholds.items():
        plan = plan_of(model=model, mode=mode)
        assert (plan.threshold, plan.align_steps, plan.estimator) == (threshold, align_steps, "scalar")


@pytest.mark.parametrize(
    "model", [name for name, preset in load_presets().items() if not preset.defaults_in_weights]
)
def test_every_task_and_mode_of_every_preset_resolves(model):
    preset = load_presets()[model]
    for task in preset.tasks:
        for mode in (*preset.modes, "off"):
            pictures = dict.fromkeys(preset.tasks[task].get("inputs", []), "picture.png")
            plan = plan_of(model=model, task=task, mode=mode, **pictures)
            assert (plan.method == "off") == (mode == "off")


def test_later_layers_win_and_say_so(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("steps: 10\nshift: 2.0\nguidance: 2\nalign-steps: 3\nseed: 1\n")
    plan = build_plan(
        {"seed": "4", "steps": None},
        ["guidance=4"],
        config,
        {"NAVICACHE_SHIFT": "3", "NAVICACHE_GUIDANCE": "3", "NAVICACHE_SEED": "3", "UNRELATED": "x"},
    )
    assert (plan.steps, plan.shift, plan.guidance, plan.seed, plan.align_steps) == (10, 3.0, 4.0, 4, 3)
    assert plan.provenance["steps"] == plan.provenance["align_steps"] == "config mine.yaml"
    assert plan.provenance["shift"] == "environment NAVICACHE_SHIFT"
    assert plan.provenance["guidance"] == "--set guidance"
    assert plan.provenance["seed"] == "--seed"
    assert plan.provenance["solver"] == "preset tiny"


def test_model_and_mode_may_come_from_any_layer(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("model: hunyuan\n")
    plan = build_plan({}, [], config, {"NAVICACHE_MODE": "slow"})
    assert (plan.model, plan.threshold) == ("hunyuan", 0.025)


def test_published_environment_names():
    plan = build_plan({}, [], None, {"NAVICACHE_THRESH": "0.123", "NAVICACHE_ALIGN_STEPS": "7"})
    assert (plan.threshold, plan.align_steps) == (0.123, 7)
    assert plan.provenance["threshold"] == "environment NAVICACHE_THRESH"
    both = environment_layer({"NAVICACHE_THRESH": "0.1", "NAVICACHE_THRESHOLD": "0.2"})
    assert both.values["threshold"] == "0.2"
    assert both.source("threshold") == "environment NAVICACHE_THRESHOLD"
    with pytest.raises(UsageError, match=r"found 'abc' \(environment NAVICACHE_THRESH\)"):
        build_plan({}, [], None, {"NAVICACHE_THRESH": "abc"})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"model": "wam"}, "did you mean wan?"),
        ({"mode": "fats"}, "did you mean fast?"),
        ({"task": "t2x"}, "did you mean t2v?"),
        ({"method": "navicach"}, "did you mean navicache?"),
        ({"estimator": "tripple"}, "expected one of: scalar, dual"),
        ({"solver": "euler"}, "solver expects one of unipc, dpm++"),
        ({"size": "65x64"}, "size expects one of 64x64"),
        ({"size": "large"}, "WIDTHxHEIGHT"),
        ({"size": "-1x4"}, "WIDTHxHEIGHT"),
        ({"frames": "16"}, "4n+1"),
        ({"frames": "-3"}, "1 or more"),
        ({"steps": "0"}, "steps expects 1 to 1000, found '0' (--steps)"),
        ({"steps": "-5"}, "1 to 1000"),
        ({"steps": "many"}, "steps expects a whole number, found 'many'"),
        ({"steps": "1e400"}, "a whole number"),
        ({"steps": True}, "a whole number"),
        ({"seed": "9" * 30}, "64-bit"),
        ({"guidance": "-1"}, "0 or more"),
        ({"guidance": "nan"}, "a finite number"),
        ({"shift": "0"}, "more than 0"),
        ({"threshold": "inf"}, "a finite number"),
        ({"threshold": "-0.1"}, "0 or more"),
        ({"align_steps": "-1"}, "0 or more"),
        ({"prompt": "  "}, "some words"),
        ({"prompt": "x" * 20_001}, "at most 20000 characters"),
        ({"prompt": ["a"]}, "prompt expects text"),
        ({"image": "cat.png"}, "takes no image"),
        ({"overwrite": "maybe"}, "true or false"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"mode": "off", "method": "easycache"}, "mode off computes every step"),
        ({"predictor": "kalman"}, "expected one of: residual, hold, calibrated"),
        ({"predictor": "hold", "method": "teacache"}, "predictor expects method navicache or easycache"),
        ({"speedup": "0"}, "speedup expects 1 or more, found 0 (--speedup)"),
        ({"speedup": "0.5"}, "speedup expects 1 or more"),
        ({"compute": "1.5"}, "compute expects above 0, at most 1"),
        ({"compute": "-1"}, "compute expects above 0"),
        ({"speedup": "2", "compute": "0.5"}, "expected speedup or compute, found both"),
        ({"speedup": "2", "threshold": "0.1"}, "speedup sets the threshold itself"),
        ({"speedup": "2", "method": "taylorseer"}, "speedup expects method navicache or easycache"),
        ({"speedup": "2", "mode": "off"}, "speedup expects method navicache or easycache"),
        ({"speedup": "25"}, "a speedup of 1 to 16.7; found 0.04, a speedup of 25"),
        ({"speedup": "5", "align_steps": "10"}, "a speedup of 1 to 4.55"),
    ],
)
def test_refusals(flags, told):
    with pytest.raises(UsageError) as caught:
        plan_of(**flags)
    assert told in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_budget_takes_the_place_of_the_mode():
    plan = plan_of(speedup="2")
    assert plan.budget == 0.5
    assert plan.align_steps == 5
    assert plan.provenance["align_steps"] == "preset tiny, at most 5 on this budget"
    assert name_of(plan).endswith("-2x-0.mp4")
    assert plan_of(compute="0.4", align_steps="8").align_steps == 8
    assert plan_of(model="hunyuan", compute="0.4").align_steps == 3
    assert plan_of(compute="0.4", steps="20").align_steps == 2


def test_a_predictor_is_no_part_of_any_mode():
    assert {plan_of(mode=mode).predictor for mode in ("fast", "mid", "slow")} == {"residual"}
    chosen = build_plan({}, [], None, {"NAVICACHE_PREDICTOR": "calibrated"})
    assert chosen.predictor == "calibrated"
    assert chosen.provenance["predictor"] == "environment NAVICACHE_PREDICTOR"


def test_frames_hint_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        plan_of(frames="80")
    assert caught.value.hint == "the nearest is --frames 81"


def test_size_hint_names_the_task_that_has_it():
    with pytest.raises(UsageError, match=r"one of 960x544, .*found '1104x832'") as caught:
        plan_of(model="hunyuan", size="1104x832")
    assert caught.value.hint == "1104x832 is a size of --task t2v-720p"
    with pytest.raises(UsageError) as caught:
        plan_of(model="hunyuan", size="1104x830")
    assert caught.value.hint == "set it with --size"


def test_set_without_equals():
    with pytest.raises(UsageError, match="key=value"):
        build_plan({}, ["steps"], None, {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"- 1\n- 2\n", "a mapping was expected"),
        (b"steps: [1\n", "not valid YAML"),
        (b"\xff\xfe\x00", "cannot read|not valid"),
        (b"steps: {a: 1}\n", "steps expects a whole number"),
        (b"prompt: !!python/object/apply:os.system ['true']\n", "without a tag"),
        (b"nonsense: 1\n", "unknown key"),
    ],
)
def test_bad_configs(tmp_path, content, told):
    config = tmp_path / "bad.yaml"
    config.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        build_plan({}, [], config, {})


def test_a_config_cannot_read_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    config = tmp_path / "c.yaml"
    config.write_text("prompt: a red ${oc.env:SECRET} circle\n")
    assert "hunter2" not in build_plan({}, [], config, {}).prompt


def test_missing_config(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_prompt_files(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\ufeffa red\n circle\r\n", encoding="utf-8")
    assert read_prompt(str(path)) == "a red circle"
    path.write_text("  \n")
    with pytest.raises(UsageError, match="empty"):
        read_prompt(str(path))
    path.write_bytes(b"\xff\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        read_prompt(str(path))
    with pytest.raises(UsageError, match="No such file"):
        read_prompt(str(tmp_path / "none"))


def name_of(plan):
    return next(result_places(plan))[0].name


def test_output_names(tmp_path):
    asked = {"prompt": "../../etc/passwd; rm -rf / red", "output_dir": str(tmp_path)}
    plan = plan_of(**asked)
    path, report = next(result_places(plan))
    assert path.parent == report.parent == tmp_path
    assert path.name == "tiny-etc-passwd-rm-rf-red-fast-0.mp4"
    report.touch()  # of a name, both must be free
    assert name_of(plan) == "tiny-etc-passwd-rm-rf-red-fast-0-2.mp4"
    (tmp_path / "tiny-etc-passwd-rm-rf-red-fast-0-2.mp4").touch()
    assert name_of(plan) == "tiny-etc-passwd-rm-rf-red-fast-0-3.mp4"
    assert [place[0] for place in result_places(plan_of(**asked, overwrite=True))] == [path]
    with pytest.raises(UsageError, match=r"ending in \.mp4"):
        name_of(plan_of(output="video.avi"))


def test_names_differ_where_settings_differ():
    others = [
        {}, {"mode": "slow"}, {"mode": "off"}, {"method": "easycache"}, {"method": "taylorseer"},
        {"seed": "1"}, {"speedup": "2"}, {"speedup": "2", "predictor": "calibrated"}, {"steps": "30"},
        {"steps": "31"}, {"guidance": "3"}, {"shift": "3"}, {"solver": "dpm++"}, {"threshold": "0.1"},
        {"max_error": "0.1"},
        {"estimator": "dual"}, {"negative_prompt": "blue"}, {"weights": "elsewhere"},
        {"method": "taylorseer", "interval": "4"},
    ]  # fmt: skip
    names = [name_of(plan_of(**options)) for options in others]
    assert len(set(names)) == len(names), names
    assert name_of(plan_of(baseline=True, output_dir="videos")) == names[0]


@given(st.text())
def test_slugs_are_safe_file_names(text):
    name = slug(text)
    assert 0 < len(name) <= 48
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(
    st.dictionaries(
        st.sampled_from(list(READERS)), st.one_of(st.text(), st.integers(), st.floats(), st.none())
    )
)
def test_any_values_give_a_plan_or_a_usage_error(values):
    with contextlib.suppress(UsageError):
        assert resolve([Layer("--{name}", values)]).steps >= 1
