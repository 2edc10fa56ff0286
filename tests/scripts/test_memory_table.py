"""The table of GPU memory in the docs."""

from __future__ import annotations

from pathlib import Path

from scripts.memory_table import table

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"


def test_the_page_has_the_present_table():
    assert table() in PAGE.read_text("utf-8"), "python -m scripts.memory_table --write docs/memory.md"
