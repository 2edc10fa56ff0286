"""The table of pipelines and caches: what it calls working, and where it is written."""

import sys
from pathlib import Path

import pytest
import torch

from scripts import pipelines_table
from scripts.pipelines_table import Cell, apart, measure, put_into, table
from tests.library.pipelines.table import ROW


def test_a_cache_that_skips_works_and_one_that_matches_nothing_does_nothing():
    assert measure("wan", "first-block cache").verdict == "works"
    assert measure("wan", "TaylorSeer") == Cell("does nothing")


def test_a_cache_of_diffusers_also_works_on_a_model_without_enable_cache():
    assert not hasattr(ROW["sd3"].build().transformer, "enable_cache")
    assert measure("sd3", "MagCache").verdict == "works"


def test_an_error_of_the_tool_is_told():
    cell = measure("allegro", "first-block cache")
    assert cell.verdict == "stops"
    assert "AllegroTransformerBlock" in cell.detail


def test_a_cache_that_stays_on_is_wrong(monkeypatch: pytest.MonkeyPatch):
    def stays_on(pipe):
        pipelines_table.TOOLS["MagCache"](pipe)
        return lambda: None

    monkeypatch.setitem(pipelines_table.TOOLS, "stays on", stays_on)
    assert measure("wan", "stays on") == Cell("wrong", "does not switch off")


def test_what_changes_the_result_and_saves_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch):
    def spoils(pipe):
        handle = pipe.transformer.register_forward_hook(lambda _, __, made: (made[0] * 0.5, *made[1:]))
        return handle.remove

    monkeypatch.setitem(pipelines_table.TOOLS, "spoils", spoils)
    assert measure("wan", "spoils").verdict == "wrong"


def test_a_cell_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch):
    def changes_the_class(pipe):
        type(pipe).changed = True
        raise RuntimeError("it stops here")

    monkeypatch.setitem(pipelines_table.TOOLS, "changes the class", changes_the_class)
    assert apart("wan", "changes the class") == Cell("stops", "RuntimeError: it stops here")
    import diffusers

    assert not hasattr(diffusers.WanPipeline, "changed")


def test_the_table_counts_verdicts_and_numbers_reasons():
    cells = {
        ("a", "x"): Cell("works", "50%"),
        ("b", "x"): Cell("stops", "no `blocks`"),
        ("a", "y"): Cell("does nothing"),
        ("b", "y"): Cell("stops", "no `blocks`"),
    }
    text = table(cells, ["a", "b"], ["x", "y"])
    assert "| **works**, of 2 | 1 | – |" in text
    assert "| `a` | works, 50% | nothing |" in text
    assert "| `b` | stops (1) | stops (1) |" in text
    assert text.endswith("\n1. `no blocks`")


def test_the_table_is_put_between_the_marks_of_a_page(tmp_path: Path):
    page = tmp_path / "page.md"
    start, end = pipelines_table.MARKS
    page.write_text(f"above\n{start}\nold\n{end}\nbelow\n")
    put_into(page, "new")
    put_into(page, "newer")
    assert page.read_text() == f"above\n{start}\n\nnewer\n\n{end}\nbelow\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no such pair"):
        put_into(page, "new")


def test_the_command_prints_the_chosen_part(monkeypatch: pytest.MonkeyPatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["pipelines_table", "--only", "wan", "--tools", "TaylorSeer"])
    try:
        pipelines_table.main()
    finally:
        torch.set_num_threads(threads)
    assert "| `wan` | nothing |" in capsys.readouterr().out
