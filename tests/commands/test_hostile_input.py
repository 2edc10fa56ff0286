"""Options and files that would once end in a traceback, block for ever or fill the memory."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import pytest

from navicache_cli.errors import NavicacheError, UsageError
from navicache_cli.plan.plan import build_plan
from navicache_cli.run.generate import read_prompt
from navicache_cli.values import read_integer, read_number
from tests.program import invoke

LONG = "x" * 300


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("mode: [fast]", r"mode expects text, found .*\(config c.yaml\)"),
        ("model: {a: 1}", "model expects text"),
        ("task: [[1]]", "task expects text"),
        ("method: [off]", "method expects text"),
        ("size: {a: 1}", "size expects text"),
        ("ulysses: [2]", "ulysses expects text"),
        ("steps: .inf", "finite numbers"),
        ("seed: 1e400", "finite numbers"),
        ("align-steps: 99999999999999999999", "align-steps expects a 64-bit whole number"),
        ('prompt: "a\\0b"', "prompt expects text of whole characters"),
        ('weights: "\\ud800"', "weights expects text of whole characters"),
        ('prompt: "a \\udcff"', "prompt expects UTF-8 text"),
        ('negative_prompt: "\\udcff"', "negative-prompt expects UTF-8 text"),
    ],
)
def test_configurations(tmp_path: Path, options: str, told: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(options + "\n")
    with pytest.raises(UsageError, match=told):
        build_plan({}, [], path, {})


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400, "9" * 400, "9" * 5000, True, None, [3], {}])
def test_numbers_that_are_none(value: object) -> None:
    for read in (read_integer, read_number):
        with pytest.raises(ValueError, match="number"):
            read(value)


COMMANDS = {
    "config": ("generate", "--dry-run", "--config", "{}"),
    "prompt": ("generate", "--dry-run", "--prompt-file", "{}"),
    "ratios": ("generate", "--dry-run", "--method", "magcache", "--set", "ratios={}"),
    "batch": ("batch", "{}", "--dry-run", "--output-dir", "out"),
    "settings": ("compare", "--settings", "{}", "--output-dir", "out"),
    "prompts": ("compare", "--prompts", "{}", "--output-dir", "out"),
    "report": ("plot", "{}"),
    "pairs": ("plot", "{}", "-o", "x.png"),
    "recording": ("replay", "{}"),
}
SUFFIXES = {"ratios": ".json", "batch": ".jsonl", "pairs": ".csv"}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing", "long"])
@pytest.mark.parametrize("command", COMMANDS)
def test_only_regular_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(("x" if kind != "long" else LONG) + SUFFIXES.get(command, ""))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    before = sorted(tmp_path.iterdir())
    told = {
        "pipe": "it is a named pipe", "device": "it is a device", "folder": "it is a folder",
        "missing": "No such file", "long": "too long|255 for each name",
    }[kind]  # fmt: skip
    with pytest.raises(NavicacheError, match=told) as found:
        invoke(*(argument.format(path) for argument in COMMANDS[command]))
    assert found.value.hint
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", ["~nobody-of-that-name/x", LONG, "a/" * 3000])
@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "--weights", "{}"),
        ("generate", "--output-dir", "{}"),
        ("generate", "-o", "{}.mp4"),
        ("generate", "--model", "wan", "--weights", "random-small", "--frames", "5", "--repo", "{}"),
        ("generate", "--method", "magcache", "--set", "ratios={}.json"),
        ("calibrate", "-o", "{}.json"),
        ("schedule", "-o", "{}.yaml"),
        ("schedule", "--prompts", "{}.txt"),
        ("generate", "--speedup", "2", "--schedule", "{}.yaml"),
        ("export-tiny", "{}"),
        ("export-tiny", "new", "--weights", "{}"),
        ("batch", "{}.txt"),
        ("batch", "prompts.txt", "--output-dir", "{}"),
        ("compare", "--output-dir", "{}"),
        ("metrics", "{}", "{}"),
        ("eval", "common", "{}", "{}"),
        ("batch-report", "{}"),
    ],
)
def test_names_that_nothing_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("a red circle\n")
    with pytest.raises(NavicacheError) as found:
        invoke(*(argument.format(value) for argument in arguments))
    assert found.value.hint
    assert len(found.value.message) < 600
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["prompts.txt"]


def test_standard_input_is_read_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO("\ufeffa red\ncircle".encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert read_prompt("-") == "a red circle"
    with open("/dev/zero", "rb") as endless:
        Stdin.buffer = endless
        with pytest.raises(UsageError, match="it is larger"):
            read_prompt("-")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="closed"):
        read_prompt("-")


def test_a_prompt_from_a_process_is_asked_for_on_standard_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError) as found:
        read_prompt(str(tmp_path / "pipe"))
    assert "--prompt-file -" in found.value.hint


@pytest.mark.parametrize(
    "value",
    ["NaN", "1e400", "9" * 400, "[" * 65 + "]" * 65, '"\\u0000"', '"\\ud800"', "[3]", "{}"],
)
@pytest.mark.parametrize("option", ["steps", "mode", "prompt", "weights", "threshold"])
def test_rows(tmp_path: Path, option: str, value: str) -> None:
    path = tmp_path / "rows.jsonl"
    other = "" if option == "prompt" else '"prompt": "a red circle", '
    path.write_text(f'{{{other}"{option}": {value}}}\n')
    with pytest.raises(UsageError, match=r"^rows\.jsonl line 1"):
        invoke("batch", path, "--dry-run", "--output-dir", tmp_path / "out")


@pytest.mark.parametrize(
    "ratios",
    ["[NaN]", "[1e400]", f"[{'9' * 400}]", "[" * 100_000, "[true]", '["1"]', "{}", "[]", "[1, 0]", "[1, -1]"],
)
def test_ratios(tmp_path: Path, ratios: str) -> None:
    path = tmp_path / "ratios.json"
    path.write_text(f'{{"ratios": {ratios}}}')
    with pytest.raises(UsageError, match="ratios"):
        build_plan({"method": "magcache"}, [f"ratios={path}"], None, {})


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 500 + "]" * 500, "9" * 5000, '{"a": 1, "a": 2}', "\xff"]
)
@pytest.mark.parametrize("command", ["plot", "replay"])
def test_reports(tmp_path: Path, command: str, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(NavicacheError, match="cannot read the report"):
        invoke(command, path)


def test_a_folder_has_no_picture_beside_it(tmp_path: Path) -> None:
    for folder in ("/", ".", tmp_path):
        with pytest.raises(NavicacheError, match="it is a folder"):
            invoke("plot", folder)


def test_pictures_of_names_too_long_for_a_file(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    lines = [f"{prompt},{step},0.1,{0.1 + 0.01 * step}" for prompt in "ab" for step in range(9)]
    pairs.write_text("prompt,step,input_rel_l1,output_rel_l1\n" + "\n".join(lines))
    with pytest.raises(NavicacheError, match="cannot write") as found:
        invoke("plot", pairs, "-o", tmp_path / f"{LONG}.png")
    assert found.value.hint
    assert list(tmp_path.iterdir()) == [pairs]


def test_settings_files_of_comparisons(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    for setting in (
        "{method: [a]}",
        "{method: navicache, line: {a: 1}}",
        "{method: fewer-steps, steps: .5}",
        "[1]",
    ):
        path.write_text(f"one: {setting}\n")
        with pytest.raises(UsageError, match=r"settings\.yaml") as found:
            invoke("compare", "--settings", path, "--output-dir", tmp_path / "out")
        assert found.value.hint
