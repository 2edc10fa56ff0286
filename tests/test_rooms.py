"""The house stands: imports go from higher floors to lower ones, and never in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Lowest first. A module belongs to the longest name it begins with; those of one floor may import each other.
FLOORS = (
    # the ground
    ("errors", "values", "interruption", "reading", "yaml_core", "locks", "files", "processes", "launch",
     "streams", "threads", "sources", "terminal", "__init__"),
    ("cache",),
    ("media",),
    ("report",),
    ("backends.registry",),
    ("plan",),
    ("backends",),
    ("run",),
    ("setup", "replay", "plots"),
    ("compare", "batch"),
    ("evaluation",),
    ("commands",),
    ("app", "__main__"),
    # the library's face, which nothing imports
    ("navicache",),
)  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the library, the program and the backends, by its dotted name."""
    found = {}
    for package in ("navicache", "navicache_cli", "backends"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


MODULES = modules()


def imports_of(name: str, path: Path) -> set[str]:
    """Modules that a module imports when it runs, in functions too; not those for type annotations alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(one.name for one in node.names)
        if isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            for one in node.names:
                inner = f"{whole}.{one.name}"
                found.add(inner if inner in MODULES else whole)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return {one for one in found if one in MODULES and one != name}


GRAPH = {name: imports_of(name, path) for name, path in MODULES.items()}


def floor_of(module: str) -> int:
    room = module.removeprefix("navicache_cli.")
    fitting = [
        (len(name), floor)
        for floor, names in enumerate(FLOORS)
        for name in names
        if room == name or room.startswith(f"{name}.")
    ]
    assert fitting, f"{module} is in no room: give it one, and name it in FLOORS"
    return max(fitting)[1]


def test_no_import_goes_up() -> None:
    upward = [
        f"{name} imports {one}"
        for name, ones in GRAPH.items()
        for one in ones
        if floor_of(one) > floor_of(name)
    ]
    assert upward == []


def test_nothing_imports_the_library() -> None:
    """It may use the cache, the report and the presets, and stands beside all else."""
    ours = {name for name in MODULES if name.startswith("navicache.")}
    used = {one.split(".")[1] for name in ours for one in GRAPH[name] - ours}
    assert used <= {"errors", "cache", "report", "plan"}
    assert not [name for name, ones in GRAPH.items() if name not in ours and ones & ours]


def test_no_circle_of_imports() -> None:
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None
