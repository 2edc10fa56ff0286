"""Tests that run on many toys: on some of them daily, on all with `pytest -m slow`."""

from collections.abc import Collection
from typing import Any

import pytest

from tests.library.pipelines.table import MAIN, ROW, ROWS


def each(daily: Collection[str] = MAIN) -> Any:
    """Runs a test on every toy; on those that are not `daily` with `pytest -m slow` only."""
    assert ROW.keys() >= set(daily)
    rows = [pytest.param(row, marks=[] if row.name in daily else [pytest.mark.slow]) for row in ROWS]
    return pytest.mark.parametrize("toy", rows, ids=str)
