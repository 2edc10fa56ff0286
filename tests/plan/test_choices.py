"""Defaults that weights have, and a budget where no mode is asked for; no package of diffusers is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from navicache_cli.cache.policies.budget import planned_steps
from navicache_cli.errors import UsageError
from navicache_cli.plan.choices import budget_layer, feasible_speedup, weights_layers
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.plan.presets import load_presets
from navicache_cli.values import read_arguments

PRESET = load_presets()["diffusers"]


class Weights:
    """A backend that finds other defaults, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}

    def defaults(self, asked: dict[str, str]) -> list[Layer]:
        self.asked = dict(asked)
        return [
            Layer("signature of X", {"steps": 30, "guidance": 7}),
            Layer("scheduler of X", {"shift": 2.5}),
        ]


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Weights:
    backend = Weights()
    monkeypatch.setattr("backends.registry.get_backend", lambda name: backend)
    return backend


def plan_of(**values: Any):
    return resolve([Layer("config x.yaml", {"model": "diffusers"}), Layer("--{name}", values)])


def test_defaults_of_weights_lie_between_preset_and_user(weights: Weights) -> None:
    plan = plan_of(weights="folder", dtype="float16", steps="20")
    loaded_by = {"model": "diffusers", "weights": "folder", "dtype": "float16"}
    assert weights.asked == loaded_by, "as asked for"
    assert (plan.steps, plan.provenance["steps"]) == (20, "--steps")
    assert (plan.guidance, plan.provenance["guidance"]) == (7.0, "signature of X")
    assert (plan.shift, plan.provenance["shift"]) == (2.5, "scheduler of X")
    assert (plan.size, plan.provenance["size"]) == ("auto", "preset diffusers")


def test_other_families_are_not_asked(weights: Weights) -> None:
    assert weights_layers(load_presets()["tiny"], [Layer("--{name}", {"weights": "folder"})]) == []
    assert weights.asked == {}


@pytest.mark.parametrize(
    ("asked", "budget"),
    [
        ({}, {"speedup": 2.0, "predictor": "calibrated"}),
        ({"steps": 20}, {"speedup": 2.0, "predictor": "calibrated"}),
        ({"method": "easycache"}, {"speedup": 2.0, "predictor": "calibrated"}),
        ({"compute": 0.6}, {"predictor": "calibrated"}),
        ({"mode": "fast", "speedup": 3}, {"speedup": 2.0, "predictor": "calibrated"}),
        ({"mode": "fast"}, {}),
        ({"threshold": 0.1}, {}),
        ({"method": "off"}, {}),
        ({"method": "magcache"}, {}),
    ],
    ids=str,
)
def test_a_budget_holds_where_nothing_else_is_asked_for(
    asked: dict[str, Any], budget: dict[str, Any]
) -> None:
    assert budget_layer(PRESET, [Layer("--{name}", asked)]).values == budget
    assert budget_layer(load_presets()["tiny"], [Layer("--{name}", asked)]).values == {}


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7, 8, 50])
def test_a_budget_of_the_preset_is_never_out_of_reach(steps: int, weights: Weights) -> None:
    plan = plan_of(weights="folder", steps=steps)
    assert planned_steps(steps, plan.budget) >= min(steps, 3)
    assert plan.speedup <= 2
    if steps >= 5:
        assert plan.speedup == 2


def test_a_budget_of_the_user_stays_as_it_is(weights: Weights) -> None:
    with pytest.raises(UsageError, match="speedup"):
        plan_of(weights="folder", steps=4, speedup=2)


def test_few_steps_lower_a_budget_as_far_as_needed() -> None:
    assert feasible_speedup(2.0, 50, 5) == 2.0
    assert feasible_speedup(2.0, 4, 2) == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("", {}),
        (None, {}),
        ({}, {}),
        (["b=2", "a=[1, 0.5]"], {"a": [1, 0.5], "b": 2}),
        (["a=x=y"], {"a": "x=y"}),
        (["a="], {"a": None}),
        (["a=off"], {"a": "off"}),
        ("{a: true}", {"a": True}),
        ('{"a": "é"}', {"a": "é"}),
        ({"a": [1, [2]]}, {"a": [1, [2]]}),
    ],
)
def test_arguments_by_name(written: Any, found: dict[str, Any]) -> None:
    read = read_arguments(written)
    assert (json.loads(read) if read else {}) == found
    assert read_arguments(read) == read, "what was read is read again alike"


@pytest.mark.parametrize(
    "written",
    [["a"], ["=1"], ["a={b: 1}"], ["a=[{b: 1}]"], ["a=!!python/object:x y"], ["a=.inf"], "x", 3, ["a=["]],
)
def test_what_is_no_argument(written: Any) -> None:
    with pytest.raises(ValueError, match=r"KEY=VALUE|expected|YAML"):
        read_arguments(written)
