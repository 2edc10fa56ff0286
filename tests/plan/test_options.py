"""The table of options, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest
from typer.main import get_command

from navicache_cli.app import app
from navicache_cli.batch.items import LOADED_BY
from navicache_cli.batch.rows import ROW_OPTIONS
from navicache_cli.cache.policies.factory import METHODS, make_policy, method_called
from navicache_cli.cache.policies.settings import settings_of
from navicache_cli.plan.keys import READERS, SETTINGS
from navicache_cli.plan.option import FROM_PRESET, Option, Range, Use
from navicache_cli.plan.options import OPTIONS, PANELS, options_with
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.setting import in_video, setting_of
from navicache_cli.run.generation import video_tags
from navicache_cli.values import read_integer, read_number, read_switch, read_text

TYPES = {read_integer: int, read_number: float, read_switch: bool}


def flags_of(*path: str) -> set[str]:
    command = get_command(app)
    for word in path:
        command = command.commands[word]
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}


def dashed(names) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in names}


def test_a_plan_has_each_option_as_it_is_read():
    hints = get_type_hints(Plan)
    assert [one.name for one in fields(Plan)][-1] == "provenance"
    for name, option in OPTIONS.items():
        assert hints[name] is TYPES.get(option.read, str), name
        if option.default is not FROM_PRESET:
            assert option.read(option.default) == option.default
            assert type(option.default) is hints[name], name


@pytest.mark.parametrize(
    "use", [Use.NONE, Use.FAMILY, Use.VIDEO | Use.CACHE, Use.OUTPUT | Use.SUBJECT], ids=str
)
def test_an_option_has_one_role(use):
    with pytest.raises(ValueError, match="exactly one of"):
        Option(read_text, use, "", "", "")


def test_a_file_says_what_it_is():
    with pytest.raises(ValueError, match="belong together"):
        Option(read_text, Use.SUBJECT | Use.FILE, "", "", "")
    with pytest.raises(ValueError, match="belong together"):
        Option(read_text, Use.SUBJECT, "", "", "", file="a picture's path")


@pytest.mark.parametrize(
    ("range_", "expected", "fits", "fails"),
    [
        (Range(1, 240), "1 to 240", [1, 240], [0, 241]),
        (Range(0), "0 or more", [0, 1e9], [-0.1]),
        (Range(0, above=True), "more than 0", [0.1], [0, -1]),
    ],
)
def test_ranges(range_, expected, fits, fails):
    assert range_.expected == expected
    assert all(map(range_.holds, fits))
    assert not any(map(range_.holds, fails))


def test_commands_offer_the_options_that_make_sense_there():
    shown = {name for name, option in OPTIONS.items() if option.panel}
    assert {OPTIONS[name].panel for name in shown} == set(PANELS)
    assert dashed(shown) <= flags_of("generate")
    for path, hidden in {
        ("batch",): Use.SINGLE | Use.PARALLEL,
        ("eval", "vbench"): Use.SINGLE | Use.PARALLEL,
        ("compare",): Use.COMPARED | Use.MEASURED | Use.OUTPUT | Use.PARALLEL,
    }.items():
        own = {"output_dir", *(("prompt",) if path[0] == "eval" else ())}
        offered = flags_of(*path)
        assert dashed(shown - {*options_with(hidden), *own}) <= offered
        assert not dashed({*options_with(hidden)} - own) & offered
        assert {"--config", "--set", "--output-dir"} <= offered
    assert "--prompt" not in flags_of("eval", "vbench")


def test_uses_hang_together():
    # Where the work is done is decided when a model is loaded; several processes are one such place.
    assert {*options_with(Use.PLACE)} <= {*LOADED_BY}
    assert {*options_with(Use.PARALLEL | Use.SECONDS)} <= {*options_with(Use.PLACE)}
    assert {*options_with(Use.COMPARED | Use.PREDICTED)} <= {*options_with(Use.CACHE)}
    assert {*options_with(Use.SINGLE | Use.BATCH)} == {*options_with(Use.OUTPUT)}
    assert {*ROW_OPTIONS} == {*READERS} - {*options_with(Use.BATCH)}
    assert not {*OPTIONS} & {*SETTINGS}


@pytest.mark.parametrize("method", METHODS)
def test_methods_settings_are_read_as_they_are(method):
    """By default, and as the example of each says."""
    kind = method_called(method).settings
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert {*method_called(method).ignores} <= {*options_with(Use.CACHE)}
    taken = {}
    for name, setting in settings_of(kind).items():
        default = getattr(kind(), name)
        assert setting.read(default) == default
        assert type(setting.read(setting.example.strip("'"))) is type(default)
        if not setting.file:
            taken[name] = setting.convert(default) if setting.convert else default
    assert make_policy(method, threshold=0.1, align_steps=2, **taken).name == method


def test_a_plan_holds_the_settings_of_its_method_alone():
    plan = build_plan({"method": "taylorseer"}, ["interval=4"], None, {})
    assert {"interval": 4, "order": 1}.items() <= plan.values().items()
    assert not {"ratios", "broadcast", "coefficients"} & {*plan.values(), *plan.provenance}
    uncached = plan.uncached(steps=3)
    assert (uncached.mode, uncached.method, uncached.steps) == ("off", "off", 3)
    assert "interval" not in uncached.values()


def test_reports_of_before_are_of_the_same_setting():
    """They had the settings of all methods."""
    plan = build_plan({"method": "taylorseer", "seed": "3"}, [], None, {})
    before = {**plan.values(), "coefficients": "", "ratios": "", "max_skips": 0, "window": ""}
    assert in_video(before) == in_video(plan.values())
    assert setting_of(before) == setting_of(plan.values())
    assert setting_of(before)["interval"] == 3


def test_tags_tell_the_settings_and_no_path(tmp_path):
    ratios = tmp_path / "mine.json"
    ratios.write_text(json.dumps({"ratios": [1.0, 0.9]}))
    plan = build_plan({"method": "magcache", "weights": str(tmp_path)}, [f"ratios={ratios}"], None, {})
    tags = json.loads(video_tags(plan, "tiny")["navicache"])
    assert tags["max_skips"] == 4
    assert {"mode", "method", "threshold", "predictor", "steps", "seed", "guidance", "solver"} <= {*tags}
    assert not {"ratios", "weights", "output", "prompt", "interval"} & {*tags}
