"""What docs/compatibility.md shows: `python -m scripts.website.compatibility --write`.

A test that really runs a feature says so by a mark, `@pytest.mark.shows(feature, *rows)`, such as
`@pytest.mark.shows("budget", "wan t2v-14B")`. A row is a task of a preset, or `LIBRARY`.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from navicache_cli.plan.presets import Preset, load_presets

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/compatibility.md"
# Features, and the options of a preset's `takes` without any of which the command line refuses it.
FEATURES: dict[str, tuple[str, ...]] = {
    "modes": (),
    "budget": (),
    "schedule": (),
    "offload": ("offload",),
    "fp8": ("fp8",),
    "compile": (),
    "sequence parallel": ("ulysses", "ring"),
    "LoRA": (),
}
BY_PYTHON_ALONE = ("compile", "LoRA")  # the command line has no option for them
LIBRARY = "import navicache"  # on a pipeline of diffusers
NOT_OF_THE_LIBRARY = ("sequence parallel",)  # processes that share a generation would have to agree
# Families whose code is not in this repository: what a double of it shows, it does not show itself.
DOUBLED = ("wan", "wan2.2", "hunyuan", "opensora")
Shown = dict[tuple[str, str], list[str]]  # tests, by row and feature


def rows() -> dict[str, Preset | None]:
    """Every row with its preset."""
    presets = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    of_tasks = {
        f"{model} {task}": preset
        for model, preset in load_presets().items()
        if model in presets  # and not another package's
        for task in preset.tasks
    }
    return {**of_tasks, LIBRARY: None}


def shown() -> Shown:
    """The tests that show something, by their marks.

    Raises:
        ValueError: a mark names a feature or a row that there is not.
    """
    found: Shown = defaultdict(list)
    known = rows()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text("utf-8")
        if "mark.shows" not in text:
            continue
        for test, feature, named in _marks(ast.parse(text)):
            place = f"{path.relative_to(ROOT)}::{test}"
            if feature not in FEATURES or not named or not set(named) <= set(known):
                raise ValueError(f"{place}: expected shows(FEATURE, ROW, …), found {(feature, *named)}")
            for row in named:
                found[row, feature].append(place)
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str, list[str]]]:
    """The marks in a file: name of the test, feature, rows."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.shows":
                feature, *named = map(ast.literal_eval, mark.args)
                yield node.name, feature, named


def cell(row: str, preset: Preset | None, feature: str, tests: Shown) -> str:
    """What the table says of a feature."""
    if places := tests.get((row, feature)):
        official = any(place.startswith("tests/repos/") for place in places)
        return "**tested**" if official or row.split()[0] not in DOUBLED else "**tested** ¹"
    if preset is None:
        return "–" if feature in NOT_OF_THE_LIBRARY else "expected"
    if feature in BY_PYTHON_ALONE:
        return "–"
    options = FEATURES[feature]
    return "refused" if options and not set(options) & set(preset.takes) else "expected"


def table(tests: Shown) -> str:
    """The features of every row."""
    lines = [f"| | {' | '.join(FEATURES)} |", f"|{'---|' * (len(FEATURES) + 1)}"]
    for row, preset in rows().items():
        cells = (cell(row, preset, feature, tests) for feature in FEATURES)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def evidence(tests: Shown) -> str:
    """The tests that show each feature."""
    order = [(row, feature) for row in rows() for feature in FEATURES if (row, feature) in tests]
    return "\n".join(
        f"- {row}, {feature}: {', '.join(f'`{place}`' for place in tests[row, feature])}"
        for row, feature in order
    )


def filled(page: str) -> str:
    """The page with the present tables between its marks."""
    tests = shown()
    for name, text in {"cells": table(tests), "tests": evidence(tests)}.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, rest = page.split(start)
        page = f"{before}{start}\n{text}\n\n{end}{rest.split(end)[1]}"
    return page


def main() -> None:
    """Print the page as it should be, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write it")
    page = filled(PAGE.read_text("utf-8"))
    if parser.parse_args().write:
        PAGE.write_text(page, "utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
