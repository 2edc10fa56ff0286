"""Layers are merged by OmegaConf, whose own syntax means nothing in what people and files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from navicache_cli.errors import UsageError
from navicache_cli.plan import presets
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.merge import given_in, merge, nothing
from navicache_cli.plan.plan import build_plan, resolve
from tests.program import invoke

HOSTILE = [
    "costs ${oc.env:HOME}", "${", "a ${ b", r"\${x}", "${prompt}", "${oc.env:NAVICACHE_SECRET}", "$${seed}",
    "a: [b", "???", "{a: b}", "null", "- x", "${oc.decode:1}",
]  # fmt: skip


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("NAVICACHE_SECRET", "hunter2")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_taken_literally(text, tmp_path):
    config = tmp_path / "${oc.env:HOME}.yaml"
    config.write_text(yaml.safe_dump({"prompt": text, "negative_prompt": text}))
    for plan in (
        build_plan({"prompt": text, "negative_prompt": text}, [], None, {}),
        build_plan({}, [f"prompt={text}", f"negative_prompt={text}"], None, {}),
        build_plan({}, [], None, {"NAVICACHE_PROMPT": text, "NAVICACHE_NEGATIVE_PROMPT": text}),
        build_plan({}, [], config, {}),
    ):
        assert (plan.prompt, plan.negative_prompt) == (text, text)
        assert plan.seed == 0
    assert plan.provenance["prompt"] == "config ${oc.env:HOME}.yaml"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_rows_are_taken_literally(suffix, tmp_path):
    path = tmp_path / f"prompts{suffix}"
    lines = {
        ".csv": ["prompt,negative_prompt", *(f'"{text}","{text}"' for text in HOSTILE)],
        ".jsonl": [json.dumps({"prompt": text, "negative_prompt": text}) for text in HOSTILE],
        ".txt": HOSTILE,
    }[suffix]
    path.write_text("\n".join(lines) + "\n")
    rows = json.loads(invoke("batch", path, "--dry-run", "--json", "--output-dir", tmp_path / "out"))
    assert [row["prompt"] for row in rows] == HOSTILE


def test_presets_are_taken_literally(tmp_path):
    """Those of other packages: a default prompt, and a setting of a method."""
    own = yaml.safe_load((Path(presets.__file__).parents[2] / "presets/tiny.yaml").read_text())
    for text in HOSTILE:
        own["defaults"]["prompt"] = own["defaults"]["negative_prompt"] = text
        own["methods"]["magcache"]["ratios"] = text
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(own))
        preset = presets.read_preset(path, "tiny")
        known = presets._load()
        known.presets["tiny"], kept = preset, known.presets["tiny"]
        try:
            assert resolve([]).prompt == text
            assert resolve([]).negative_prompt == text
        finally:
            known.presets["tiny"] = kept


@pytest.mark.parametrize("text", HOSTILE)
def test_a_number_of_that_form_is_refused_by_our_own_reader(text):
    with pytest.raises(UsageError) as caught:
        invoke("generate", "--dry-run", f"--steps={text}")
    assert caught.value.message == f"steps expects a whole number, found {text!r} (--steps)"
    assert caught.value.hint == "set it with --steps"


def test_the_last_layer_wins_and_says_so():
    layers = [Layer("a", {"steps": "3", "prompt": "x"}), Layer("--{name}", {"steps": "5", "seed": 1})]
    base = merge(nothing(), layers[:1], lambda key, value: READERS[key](value))
    merged = given_in(merge(base, layers[1:], lambda key, value: READERS[key](value)))
    assert {key: (one.value, one.source) for key, one in merged.items()} == {
        "steps": (5, "--steps"), "prompt": ("x", "a"), "seed": (1, "--seed"),
    }  # fmt: skip
    assert given_in(base)["steps"].value == 3, "what is merged into stays as it was"
    assert given_in(nothing()) == {}
