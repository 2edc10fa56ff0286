"""Standard streams: other encodings, closed, full and broken ones, and what may reach a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from navicache_cli.streams import visible
from tests.batches import SHORT
from tests.conftest import clean_environment
from tests.program import assert_refused, on_a_terminal

ENCODINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
TITLE = "\x1b]0;owned\x07"  # names the window, on most terminals


def run_in(folder, words, redirection="", **environment):
    """Run the program by a shell; what it says, as bytes."""
    program = [sys.executable, "-m", "navicache_cli", *words]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *program],
        cwd=folder, env=clean_environment(**environment), capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A batch of one video. Read only."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "prompts.txt").write_text("a red → circle\n")
    done = run_in(folder, ["batch", "prompts.txt", *SHORT, "--output-dir", "out"])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["plot", "--help"], ["doctor"], ["presets"], ["batch-report", "out"],
        ["generate", "--steps", "é"],
        ["generate", "--dry-run", "--prompt", "a ring → 日本 ½"],
        ["generate", *SHORT, "-q", "--prompt", "a → ring", "--output-dir", "é"],
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_no_encoding_stops_the_program(batch, words, encoding):
    done = run_in(batch, [*words, *(["--overwrite"] if "-q" in words else [])], **ENCODINGS[encoding])
    said = done.stdout + done.stderr
    assert done.returncode in (0, 2, 3), said
    assert b"Traceback" not in said
    if done.returncode == 2:
        assert b"error: steps expects" in done.stderr


def test_nothing_is_mixed_into_json_where_standard_error_is_closed(tmp_path):
    done = run_in(tmp_path, ["generate", *SHORT, "--json"], "2>&-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["steps"] == 4


def test_a_missing_standard_error_loses_messages_alone(tmp_path):
    done = run_in(tmp_path, ["generate", *SHORT, "-o", "a.mp4"], "2>/dev/full")
    assert done.returncode == 0
    assert done.stdout.endswith(b"a.mp4\n")
    assert run_in(tmp_path, ["generate", "--steps", "x"], "2>/dev/full").returncode == 2


@pytest.mark.parametrize(
    ("redirection", "cause"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
@pytest.mark.parametrize("words", [["presets"], ["models", "--json"], ["--help"], ["--version"]], ids=str)
def test_output_that_cannot_be_written_is_an_error(tmp_path, words, redirection, cause):
    done = run_in(tmp_path, words, redirection)
    done.stderr = done.stderr.decode()
    assert_refused(done, 6, f"error: cannot write to standard output: {cause}")
    assert "Exception" not in done.stderr


def test_a_video_is_kept_where_its_path_cannot_be_printed(tmp_path):
    assert run_in(tmp_path, ["generate", *SHORT, "-q", "-o", "a.mp4"], ">/dev/full").returncode == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.mp4"]


@pytest.mark.parametrize(
    "words", [["--help"], ["presets"], ["presets", "--json"], ["generate", *SHORT, "-q"]], ids=str
)
def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path, words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "navicache_cli", *words],
        cwd=tmp_path, env=clean_environment(), stdout=writer, stderr=subprocess.PIPE, timeout=120,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 141
    assert b"rror" not in done.stderr
    assert len(list(tmp_path.glob("videos/*"))) == (2 if "generate" in words else 0)


def test_closed_standard_input_is_no_prompt(tmp_path):
    done = run_in(tmp_path, ["generate", "--prompt-file", "-"], "<&-")
    assert done.returncode == 2
    assert b"cannot read the prompt file -" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["metrics", TITLE, "b.mp4"], ["batch-report", TITLE], ["generate", "--mode", TITLE], [TITLE],
        ["presets", TITLE],
        ["generate", f"--{TITLE}"], ["generate", "--set", f"{TITLE}=1"], ["plot", f"{TITLE}.json"],
        ["generate", "--config", f"a\nerror: none{TITLE}"], ["setup", TITLE, "--dry-run"], ["--debug",
        "generate", "--mode", TITLE],
    ],
    ids=repr,
)  # fmt: skip
def test_errors_show_control_characters_escaped(tmp_path, words):
    done = run_in(tmp_path, words)
    assert done.returncode
    assert not {7, 0x1B} & set(done.stderr)
    assert b"owned" in done.stderr
    assert done.stderr.count(b"error: ") - done.stderr.count(b"\\nerror: ") == 1


@pytest.mark.parametrize("columns", ["0", "1", "x", "-5"])
def test_no_width_hides_an_error(tmp_path, columns):
    done = run_in(tmp_path, ["generate", "--mode", "x"], COLUMNS=columns)
    assert done.stderr.startswith(b"error: unknown mode 'x'")
    assert b"try: " in done.stderr
    assert run_in(tmp_path, ["--help"], COLUMNS=columns).stdout.strip()


def test_a_plan_shows_control_characters_escaped(tmp_path):
    prompt = f"a red circle{TITLE}\nmode  \u202eoff\x9b31m"
    shown = run_in(tmp_path, ["generate", "--dry-run", "--prompt", prompt], COLUMNS="300").stdout.decode()
    assert r"a red circle\x1b]0;owned\x07\nmode  \u202eoff\x9b31m" in shown


def test_a_name_is_exact_in_a_pipe_and_harmless_on_a_terminal(tmp_path):
    name = os.fsdecode(b"a\xff" + TITLE.encode() + b" [/] :smile:.mp4")
    done = run_in(tmp_path, ["generate", *SHORT, "-q", "-o", name])
    assert done.stdout == os.fsencode(name) + b"\n"
    for quiet in (["-q"], []):
        code, shown = on_a_terminal(tmp_path, "generate", *SHORT, *quiet, "-o", name, "--overwrite")
        assert code == 0
        assert r"a\udcff\x1b]0;owned\x07 [/] :smile:.mp4" in shown
        assert "\x07" not in shown
        assert "\x1b]" not in shown


def test_names_are_no_markup(tmp_path, cli):
    assert cli("calibrate", "--steps", "2", "-o", "[/]r.json").stdout.splitlines()[-1] == "[/]r.json"
    assert cli("generate", *SHORT, "-o", "[/].mp4").returncode == 0
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "[bold]x.mp4").write_bytes((tmp_path / "[/].mp4").read_bytes())
    done = cli("metrics", "a", "b", "--no-lpips")
    assert done.returncode == 0, done.stderr
    assert "[bold]x.mp4" in done.stdout
    (tmp_path / "settings.yaml").write_text('"[/] [bold]x": {method: navicache, threshold: 1}\n')
    words = [
        "compare",
        "--settings",
        "settings.yaml",
        "--steps",
        "2",
        "--align-steps",
        "0",
        "--prompt",
        "a ring",
        "--no-lpips",
    ]
    code, shown = on_a_terminal(tmp_path, *words)
    assert code == 0, shown
    assert "[/] [bold]x" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 🎬 \t", "plain é 日本 🎬 \t"),
        ("\x00\x07\x08\n\r\x1b\x7f", r"\x00\x07\x08\n\r\x1b\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202e\u2066\u200f\u2028", r"\u202e\u2066\u200f\u2028"),
        ("\udcff\ud800", r"\udcff\ud800"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown
    assert visible("a\nb", keep="\n") == "a\nb"
