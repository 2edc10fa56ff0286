"""YAML by the core schema of YAML 1.2, from any file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.plan.plan import build_plan
from navicache_cli.plan.presets import read_yaml
from navicache_cli.yaml_core import parse_yaml


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # Text here; False, True, 556, 45296, 1000, a date and an error by YAML 1.1.
        ("off", "off"), ("on", "on"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("9:16", "9:16"),
        ("12:34:56", "12:34:56"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), ("=", "="),
        ("0b11", "0b11"), ("tRUE", "tRUE"), ("${oc.env:HOME}", "${oc.env:HOME}"), ("${", "${"),
        ("010", 10), ("0o17", 15), ("0x1F", 31), ("+12", 12), ("-0", 0),
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-2.50", -2.5),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("'off'", "off"), ("!!str 1", "1"), ("!!float 1", 1.0), ("[a, {b: 2}]", ["a", {"b": 2}]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema(written: str, value: object) -> None:
    found = parse_yaml(f"x: {written}\n")["x"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_as_written() -> None:
    assert parse_yaml("1.10: a\ntrue: b\nnull: c\n'd': e\n<<: {f: g}") == {
        "1.10": "a", "true": "b", "null": "c", "d": "e", "<<": {"f": "g"},
    }  # fmt: skip


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: .inf", "finite"), ("a: -.INF", "finite"), ("a: .nan", "finite"), ("a: 1e400", "finite"),
        ("a: " + "9" * 400, "finite"), ("a: " + "9" * 5000, "finite"), ("a: 0x" + "f" * 5000, "finite"),
        ("a: 1\nb:\n  c: 1\n  c: 2", r"'c' is there twice \(line 4\)"), ("a: 1\n'a': 2", "twice"),
        ("? [a]\n: b", "key was expected to be text"),
        (BOMB, "at most 100000 values"), ("a: &a [*a]", "in one another"),
        ("a: &a {b: *a}", "in one another"), ("- " * 3000, "in one another"),
        ("[" * 100_000, "in one another"), ("[" * 66 + "]" * 66, "in one another"),
        ("a: !!python/object/apply:os.system [true]", "tag"), ("a: !!timestamp 2024-01-01", "tag"),
        ("a: !!int abc", "kind int"), ("a: !!bool yes", "kind bool"),
        ("a: b: c", "not valid YAML in line 1 column 5"), ("a: *b", "undefined alias"),
        ("a: \x07", "not valid YAML"), ("--- a\n--- b", "another document"),
    ],
)  # fmt: skip
def test_what_would_break_later_is_refused_in_one_line(text: str, reason: str) -> None:
    since = time.perf_counter()
    with pytest.raises(ValueError, match=reason) as found:
        parse_yaml(text)
    assert time.perf_counter() - since < 10
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 250


def test_aliases_are_what_they_stand_for() -> None:
    found = parse_yaml("a: &x {b: [1, 2]}\nc: *x\nd: *x")
    assert found == {key: {"b": [1, 2]} for key in "acd"}


def test_every_yaml_file_is_read_so(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("mode: off\nsteps: 010\nguidance: 1e0\noverwrite: yes\n")
    plan = build_plan({}, [], path, {})
    assert (plan.mode, plan.steps, plan.guidance, plan.overwrite) == ("off", 10, 1.0, True)
    path.write_text("model: opensora\nsize: 480p\naspect_ratio: 9:16\n")
    assert build_plan({}, [], path, {}).aspect_ratio == "9:16"
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}
    path.write_bytes(b"a: " + b"x" * (1 << 20))
    with pytest.raises(UsageError, match="it is larger"):
        read_yaml(path)
