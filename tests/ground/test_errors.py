"""Every error says what to type next."""

from __future__ import annotations

import ast
import inspect
import pickle
from pathlib import Path

import pytest

from navicache_cli import errors

ROOT = Path(__file__).parents[2]
CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value)
    and issubclass(value, errors.NavicacheError)
    and value.__init__ is errors.NavicacheError.__init__  # one that takes no arguments has both by itself
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_needs_a_hint_and_comes_whole_out_of_another_process(kind: type) -> None:
    with pytest.raises(TypeError, match="hint"):
        kind("expected this, found that")
    error = pickle.loads(pickle.dumps(kind("expected this, found that", "type this")))
    assert (error.message, error.hint, str(error)) == (
        "expected this, found that",
        "type this",
        error.message,
    )


def test_no_hint_is_empty() -> None:
    names = {kind.__name__ for kind in CLASSES}
    calls = []
    for path in [
        *ROOT.glob("navicache_cli/**/*.py"),
        *ROOT.glob("backends/**/*.py"),
        *ROOT.glob("scripts/*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                calls.append((path.relative_to(ROOT), node))
    assert len(calls) > 200
    for path, node in calls:
        hints = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "hint")]
        assert len(hints) == 1, f"{path} line {node.lineno}"
        parts = ast.walk(hints[0])  # also what an `or` or a condition may choose
        empty = [part for part in parts if isinstance(part, ast.Constant) and part.value == ""]
        assert not empty, f"{path} line {node.lineno}"
