"""Finds model families: entry points in the group `navicache.backends`, built-in ones like any other.

Nothing of a family is imported before it is asked for by name, and what is wrong with one concerns no other.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import BackendError, NavicacheError, one_line

if TYPE_CHECKING:
    from backends.protocol import Backend

GROUP = "navicache.backends"
_OWN_PACKAGE = "backends"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # it becomes a part of file names
_OFFERED = ("name", "problem", "check", "load")  # by a class that is a Backend


@dataclass(frozen=True)
class Family:
    """A model family that an installed package offers.

    Attributes:
        name: as used with `--model`.
        package: the distribution and its version.
        point: its entry point.
        fault: why it cannot be used whatever is in it, or "".
    """

    name: str
    package: str
    point: EntryPoint
    fault: str = ""

    @property
    def module(self) -> str:
        """The module its class is in."""
        return self.point.value.partition(":")[0].strip()

    @property
    def own(self) -> bool:
        """Whether it is one of navicache's own."""
        return self.module.partition(".")[0] == _OWN_PACKAGE

    def error(self, reason: str) -> BackendError:
        """The error that says what is wrong with the family, and with whose."""
        if self.own:
            return BackendError(f"the model family {self.name!r}: {reason}", "reinstall navicache")
        distribution = self.package.partition(" ")[0]
        return BackendError(
            f"the model family {self.name!r} of the package {self.package}: {reason}",
            f"pip install --upgrade {distribution}, or pip uninstall {distribution}",
        )

    def preset_file(self) -> Path:
        """Return where its preset is: NAME.yaml in the package that its class is in. Imports nothing.

        Raises:
            BackendError: there is no such package, or no such file in it.
        """
        name = f"{self.name}.yaml"
        folders = _folders_of(self.module)
        if not folders:
            raise self.error(f"expected a module {self.module[:60]!r}, as its entry point says; found none")
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        raise self.error(f"expected its preset {name} in {folders[0]}, found none")


def families() -> list[Family]:
    """Return all families that installed packages offer, by name, those that cannot be used included.

    Of one name there is at most one that can be used. navicache's own names are never another package's.
    """
    points = {(point.name, point.value): point for point in _points()}
    found = [Family(point.name, _package(point), point) for point in points.values()]
    checked = [_checked(family, [one for one in found if one.name == family.name]) for family in found]
    return sorted(checked, key=lambda family: (family.name, bool(family.fault), family.package))


def backend_names() -> list[str]:
    """Return the names of all installed families, without importing them."""
    return sorted({family.name for family in families()})


def get_backend(name: str) -> Backend:
    """Import and return the family `name`.

    Raises:
        BackendError: no package offers it, or what its package offers cannot be used.
    """
    family = next((family for family in families() if family.name == name), None)
    if family is None:
        known = backend_names()
        raise BackendError(
            f"this installation cannot run {name!r}: no package offers a backend of that name, found: "
            f"{', '.join(known) or 'none'}",
            "use --model tiny" if known else "install navicache itself: pip install -e .",
        )
    if family.fault:
        raise family.error(family.fault)
    try:
        backend: Backend = family.point.load()()
        absent = [each for each in _OFFERED if not hasattr(backend, each)]
    except NavicacheError:
        raise
    except (Exception, SystemExit) as error:  # Other people's code: it may raise anything.
        raise family.error(
            f"{family.point.value} cannot be imported: {type(error).__name__}: {one_line(error)}"
        ) from error
    if absent:
        raise family.error(
            f"expected {family.point.value} to be a class as backends/protocol.py asks for, "
            f"found one without {', '.join(absent)}"
        )
    if backend.name != name:
        raise family.error(f"expected its class to be named so too, found {str(backend.name)[:40]!r}")
    return backend


def problem_of(name: str) -> str:
    """Say in one line what is missing before a family can run here; "" when nothing is. Raises nothing."""
    try:
        backend = get_backend(name)
        try:
            return " ".join(str(backend.problem() or "").split())
        except Exception as error:  # See above.
            return f"its own check failed: {type(error).__name__}: {one_line(error)}"
    except NavicacheError as error:
        return error.message


def _checked(family: Family, of_its_name: list[Family]) -> Family:
    """The family, with what is wrong with it as far as that shows without looking into it."""
    others = [one.package for one in of_its_name if one is not family]
    fault = ""
    if not _NAME.fullmatch(family.name):
        fault = "expected a name of at most 40 letters, digits, dots, hyphens and underscores"
    elif not family.own and any(one.own for one in of_its_name):
        fault = "this name is navicache's own"
    elif not family.own and others:
        fault = f"{' and '.join(sorted(others))} offers one of that name too; one of them has to go"
    return replace(family, fault=fault)


def _points() -> list[EntryPoint]:
    """All entry points of the group."""
    try:
        return [*entry_points(group=GROUP)]
    except Exception:  # One file of entry points that cannot be read, of any package, hides all others.
        found: list[EntryPoint] = []
        for distribution in distributions():
            with suppress(Exception):
                found += distribution.entry_points.select(group=GROUP)
        return found


def _package(point: EntryPoint) -> str:
    """Name and version of the distribution; made by hand, an entry point may have none."""
    return f"{point.dist.name} {point.dist.version}" if point.dist and point.dist.name else "unknown"


def _folders_of(module: str) -> list[Path]:
    """The folder of a package, or the one a module is in, without importing either; none if not found.

    `find_spec` would import all packages around the last name, which may take seconds or fail.
    """
    parts = module.split(".")
    try:
        spec: ModuleSpec | None = find_spec(parts[0])
    except (ImportError, ValueError):  # ValueError: something without a spec is loaded under that name.
        return []
    for depth in range(2, len(parts) + 1):
        around = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join(parts[:depth]), list(around)) if around else None
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.origin else []
