"""What the documentation names is there: links, paths of this repository, and the tree in CONTRIBUTING.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
# From the root; `*` stands for many. What has no folder of ours in front is a path of somebody's results.
PATH = re.compile(
    r"(?<![\w./-])(?:navicache|navicache_cli|backends|presets|scripts|tests|docs|examples|\.ci)/[\w./*-]*"
)
OTHERS = {"scripts/cal_final_score.py"}  # paths in other repositories that look like ours
# Folders that the tree names in the words beside their room, or that hold data alone.
UNNAMED = {"navicache_cli/compare/peers/", "navicache_cli/report/schemas/"}
PROTOCOL = "> **Protocol**"
# A row of a table: 49.8 (38.8), 36.9 dB (26.3), 61.6 / 49.2.
DECIBELS = re.compile(r"^\|.*\d\d\.\d\*{0,2}(?: dB)?\*{0,2} (?:\(|/ )\d\d\.\d", re.MULTILINE)
ENTRY = re.compile(r"^( *)([\w.]+(?:/[\w.]+)*/?)(?= {2,}|$)")


def missing_links(page: Path, text: str) -> list[str]:
    return [target for target in LINK.findall(text) if not (page.parent / target).exists()]


def missing_paths(text: str) -> list[str]:
    named = [path.rstrip(".") for path in PATH.findall(text)]
    return [path for path in named if path not in OTHERS and not any(ROOT.glob(path.rstrip("/")))]


def without_protocol(text: str) -> list[str]:
    """The sections with a table of decibels and no protocol, in the section or above all sections."""
    top, *sections = re.split(r"^#{2,} (?=.)", text, flags=re.MULTILINE)
    return [
        section.splitlines()[0]
        for section in ([] if PROTOCOL in top else sections)
        if DECIBELS.search(section) and PROTOCOL not in section
    ]


def tree_of(text: str) -> list[str]:
    """The paths of the tree under "Architecture": each entry below the last one that is indented less."""
    tree = text.split("## Architecture", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    above: list[tuple[int, str]] = []
    paths = []
    for line in tree.splitlines():
        entry = ENTRY.match(line)
        if entry is None:
            continue
        depth = len(entry[1])
        above = [(indent, folder) for indent, folder in above if indent < depth]
        path = "".join(folder for _, folder in above) + entry[2]
        paths.append(path)
        above.append((depth, entry[2]))
    return paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_the_documentation_lead_somewhere(page):
    text = page.read_text("utf-8")
    assert missing_links(page, text) == []
    assert missing_paths(text) == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_stand_beside_how_they_were_taken(page):
    assert without_protocol(page.read_text("utf-8")) == []


def test_figures_without_a_protocol_are_found():
    table = "| `hold` | 45.9 dB (27.8) |\n"
    assert without_protocol(f"# Page\n\n## Figures\n\n{table}\n## Others\n\nNone.\n") == ["Figures"]
    assert without_protocol(f"# Page\n\n## Figures\n\n{table}\n> **Protocol** · `tiny`\n") == []


def test_the_tree_in_contributing_is_the_tree():
    named = tree_of((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
    rooms = {
        f"{folder.relative_to(ROOT)}/"
        for folder in (ROOT / "navicache_cli").rglob("*")
        if (folder / "__init__.py").exists() and len(folder.relative_to(ROOT).parts) <= 3
    }
    assert rooms - set(named) - UNNAMED == set()


def test_a_path_that_is_not_there_is_found():
    text = "see [a](docs/nothing.md), `tests/nowhere/test_x.py`, scripts/*.nothing and presets/tiny.yaml."
    assert missing_links(ROOT / "README.md", text) == ["docs/nothing.md"]
    assert missing_paths(text) == ["docs/nothing.md", "tests/nowhere/test_x.py", "scripts/*.nothing"]
