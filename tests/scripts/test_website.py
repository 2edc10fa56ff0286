"""The documentation's site: its generated pages, its navigation, and the table of what was tested.

None of this needs mkdocs; `.ci/run` builds the site with it.
"""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.main import get_command

import navicache
from navicache_cli.app import app
from navicache_cli.errors import UsageError
from navicache_cli.plan.options import OPTIONS
from navicache_cli.plan.plan import build_plan
from scripts.website import compatibility, hooks
from tests.commands.test_help import commands

ROOT = Path(__file__).parents[2]
PAGES = hooks.generated()
CHECK = runpy.run_path(str(ROOT / ".ci/check_site.py"), run_name="check_site")


def site() -> dict:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))


def targets(entries: list) -> list[str]:
    """The pages that a navigation leads to."""
    found = []
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += targets(value) if isinstance(value, list) else [value]
    return found


@pytest.mark.parametrize(
    ("path", "command"),
    [(path, one) for path, one in commands(get_command(app)) if not hasattr(one, "commands")],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_every_option_of_a_command_is_on_its_page(path, command):
    page = PAGES[f"commands/{'-'.join(path)}.md"]
    assert page.startswith(f"# `navicache {' '.join(path)}`\n")
    rows = dict(re.findall(r"^\| `(.*?)` \| (.*) \|$", page, re.MULTILINE))
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            (text,) = (
                rows[shown] for shown in rows if shown.split()[0] == (parameter.metavar or parameter.name)
            )
        else:
            names = {*parameter.opts, *parameter.secondary_opts}
            (text,) = (rows[shown] for shown in rows if names <= {*re.split("[ ,/]+", shown)})
        assert text.startswith(re.match(r"[A-Za-z ,]+", parameter.help)[0]), "its help"


def test_the_table_of_options_is_on_the_page_of_generate():
    page = PAGES["commands/generate.md"]
    for name, option in OPTIONS.items():
        if option.panel:
            assert f"`{(option.flags or ('--' + name.replace('_', '-'),))[0]}" in page
    assert "Denoising steps. (1 to 1000)" in page
    assert (
        r"Videos per prompt, with seeds counting up from --seed.  \[default: 1\]"
        in PAGES["commands/batch.md"]
    )
    assert r"\[required\] |" in PAGES["commands/metrics.md"]


def test_the_overview_leads_to_every_command():
    page = PAGES["commands/index.md"]
    for path, command in commands(get_command(app)):
        assert hasattr(command, "commands") or f"({'-'.join(path)}.md)" in page
    assert "| `--version` | Show the version. |" in page


def test_texts_show_as_they_are_written():
    written = "Scale of {a}*{b}_c | <d> [default: `--x <y>`]"
    assert hooks.commands._cell(written) == (r"Scale of {a}\*{b}\_c \| &lt;d&gt; \[default: `--x <y>`\]")


def test_the_navigation_has_every_page_once():
    listed = targets(hooks.navigation(site()["nav"]))
    committed = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted({*committed, *PAGES})


def test_public_names_are_in_the_api():
    shown = re.findall(r"^::: (.+)$", PAGES["api/navicache.md"], re.MULTILINE)
    assert sorted(shown) == [f"navicache.{name}" for name in sorted(navicache.__all__)]
    assert "::: navicache_cli.cache.ForwardSite\n" in PAGES["api/cache.md"]
    assert "::: backends.protocol\n" in PAGES["api/backends.md"]


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("notes/a.md", "[predictors.md](../b.md#c)", "[B, in full](../b.md#c)"),
        ("b.md", "[it](../CONTRIBUTING.md)", "[it](contributing.md)"),
        ("contributing.md", "[b](docs/b.md)", "[b](b.md)"),
        ("b.md", "[`wan.yaml`](../presets/wan.yaml)", "`presets/wan.yaml`"),
        ("b.md", "[presets](../presets/wan.yaml)", "presets (`presets/wan.yaml`)"),
        ("b.md", "![plot](plot.png) [x](https://example.org)", "![plot](plot.png) [x](https://example.org)"),
        (
            "b.md",
            "<!-- not run -->\n```text\n[a](b.md) <!-- c -->\n```\n",
            "```text\n[a](b.md) <!-- c -->\n```\n",
        ),
    ],
)
def test_links_lead_to_what_the_site_has(page, written, shown, monkeypatch):
    monkeypatch.setattr(hooks, "heading", {"docs/b.md": "B, in full"}.get)
    written = written.replace("predictors.md]", "b.md]")
    names = ["b.md", "notes/a.md", "plot.png", *hooks.ELSEWHERE]
    files = [SimpleNamespace(src_uri=name) for name in names]
    here = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert hooks.on_page_markdown(written, here, None, files) == shown


def test_the_page_of_compatibility_is_as_the_tests_are_marked():
    page = compatibility.PAGE.read_text("utf-8")
    assert compatibility.filled(page) == page, "python -m scripts.website.compatibility --write"


def test_nothing_is_tested_without_a_test():
    said = compatibility.table({})
    assert "tested" not in said
    place = {("wan t2v-14B", "budget"): ["tests/backends/test_wan_double.py::test_x"]}
    assert compatibility.table(place) == said.replace(
        "wan t2v-14B | expected | expected", "wan t2v-14B | expected | **tested** ¹"
    )
    place["wan t2v-14B", "budget"] = ["tests/repos/test_wan.py::test_x"]
    assert "| wan t2v-14B | expected | **tested** | expected |" in compatibility.table(place)


def test_marks_are_read_and_wrong_ones_refused(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.setattr(compatibility, "ROOT", tmp_path)
    file = tmp_path / "tests/test_x.py"
    file.write_text(
        '@pytest.mark.slow\n@pytest.mark.shows("fp8", "tiny t2v", "opensora t2v")\ndef test_a(): pass\n'
    )
    place = ["tests/test_x.py::test_a"]
    assert compatibility.shown() == {("tiny t2v", "fp8"): place, ("opensora t2v", "fp8"): place}
    for wrong in ('"fp9", "tiny t2v"', '"fp8", "tiny t3v"', '"fp8"'):
        file.write_text(f"@pytest.mark.shows({wrong})\ndef test_a(): pass\n")
        with pytest.raises(ValueError, match=r"test_x\.py::test_a: expected shows\(FEATURE, ROW"):
            compatibility.shown()


def test_marks_are_where_they_are_looked_for():
    """On functions of a module: one in a class would be overlooked."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text("utf-8")
        if "mark.shows" in text and path != Path(__file__):
            assert text.count("mark.shows(") == len(list(compatibility._marks(ast.parse(text)))), path


@pytest.mark.parametrize("row", [row for row, preset in compatibility.rows().items() if preset])
def test_what_is_refused_is_refused(row):
    preset = compatibility.rows()[row]
    if preset.defaults_in_weights:
        pytest.skip("plans need weights: tests/backends/test_diffusers.py")
    model, task = row.split()
    pictures = dict.fromkeys(preset.tasks[task].get("inputs", []), "x.png")
    for feature, options in compatibility.FEATURES.items():
        for option in options:
            value = "2" if option in ("ulysses", "ring") else "yes"
            if compatibility.cell(row, preset, feature, {}) == "refused":
                with pytest.raises(UsageError, match=f"{model} takes no {option}"):
                    build_plan({"model": model, "task": task, **pictures, option: value}, [], None, {})
            elif option in preset.takes:
                build_plan({"model": model, "task": task, **pictures, option: value}, [], None, {})


def test_the_check_of_the_site_finds_what_is_wrong(tmp_path):
    (tmp_path / "a").mkdir()
    good = '<a href="../b.html#here">b</a> <a href="#top" id="top">a</a> <a href="https://example.org">x</a>'
    (tmp_path / "a/a.html").write_text(f'{good} <img src="p%20q.png">')
    (tmp_path / "a/p q.png").write_bytes(b"")
    (tmp_path / "b.html").write_text('<h2 id="here">b</h2> <link rel="canonical" href="https://example.org">')
    assert list(CHECK["problems"](tmp_path)) == []
    (tmp_path / "b.html").write_text(
        '<a href="a/a.html#no"> <a href="c.html"> <script src="https://cdn.example/x.js"></script>'
        '<link rel="stylesheet" href="//cdn.example/x.css"> <img src="q.png">'
    )
    assert list(CHECK["problems"](tmp_path)) == [
        "a/a.html: ../b.html#here has no such anchor",
        "b.html: loads https://cdn.example/x.js",
        "b.html: loads //cdn.example/x.css",
        "b.html: a/a.html#no has no such anchor",
        "b.html: c.html is not there",
        "b.html: q.png is not there",
    ]
    (tmp_path / "none").mkdir()
    assert list(CHECK["problems"](tmp_path / "none")) == [f"{tmp_path / 'none'}: no pages"]
