"""What `--help` prints: paragraphs that wrap at the terminal's width, and the defaults."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from navicache_cli.app import app


def commands(group, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else ()


def test_paragraphs_are_not_broken_where_the_source_breaks_them():
    helps = {path: command.help for path, command in commands(get_command(app))}
    assert ("eval", "vbench") in helps
    for path, text in helps.items():
        assert text, path
        assert all("\n" not in paragraph for paragraph in text.split("\n\n")), path


@pytest.mark.parametrize("width", [80, 120])
def test_lines_are_as_wide_as_the_terminal(cli, width):
    shown = cli("batch", "--help", env={"COLUMNS": str(width)}).stdout
    paragraph = (
        "The options of `generate` are the defaults for all videos; columns of the file override them. Exit "
    )
    assert paragraph[: width - 20].rsplit(" ", 1)[0] in shown
    assert max(map(len, shown.splitlines())) <= width


def test_defaults_in_brackets_are_shown(cli):
    shown = cli("generate", "--help", env={"COLUMNS": "120"}).stdout
    for default in ("tiny", "the preset's example", "fast", "videos"):
        assert f"[default: {default}]" in shown


def test_help_waits_for_no_package_that_it_does_not_need():
    program = "import sys; from navicache_cli.app import main; sys.argv[1:] = ['--help']; main()"
    heavy = "{'torch', 'numpy', 'jsonschema', 'msgspec'} & set(sys.modules)"
    told = f"import atexit, sys; atexit.register(lambda: print({heavy}, file=sys.stderr)); {program}"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert "Usage" in done.stdout
    assert done.stderr == "set()\n"
