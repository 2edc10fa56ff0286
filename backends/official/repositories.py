"""Finds the checkout of an official repository, and imports its package without touching `sys.path`.

A checkout is looked for at, in this order: the `--repo` option, the environment variable, the managed place,
the current directory, and an importable package. The first two are the user's word: what they name must fit,
and so must a managed checkout that is there. The last two are taken only if they fit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from backends.official.torchvision import torchvision_hint
from navicache_cli.errors import BackendError, one_line
from navicache_cli.reading import expand_user

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Official:
    """What is known of an official repository.

    Attributes:
        name: the model family, as used with `--model`.
        title: name for people.
        url: where it is cloned from.
        package: the import package at its root.
        files: paths that tell it from other repositories, older and newer ones of the same makers included.
        tested_commit: the full hash this program was tested with.
        branch: branch or tag to clone, or "" for the default one.
        setup_name: what `navicache setup` calls it, where that is not `name`.
        imported_as: the name its package is imported under, where that of another repository is called alike.
        parts: modules in the package that are imported in the place of its `__init__`, which asks for more
            packages than these; none for the whole package.
        relatives: paths by which repositories of other families are known, each with its value of `--model`.
    """

    name: str
    title: str
    url: str
    package: str
    files: tuple[str, ...]
    tested_commit: str
    branch: str = ""
    setup_name: str = ""
    imported_as: str = ""
    parts: tuple[str, ...] = ()
    relatives: tuple[tuple[str, str], ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that may point at a checkout; a shell allows letters and digits alone."""
        return f"NAVICACHE_{re.sub('[^A-Z0-9]', '', self.name.upper())}_REPO"

    @property
    def module(self) -> str:
        """The name its package is imported under."""
        return self.imported_as or self.package

    @property
    def setup(self) -> str:
        """What `navicache setup` calls it."""
        return self.setup_name or self.name

    @property
    def clone(self) -> str:
        """The command that clones it."""
        branch = f"--branch {self.branch} " if self.branch else ""
        return f"git clone {branch}{self.url}"

    def missing(self, place: Path) -> str:
        """Name the files that tell this repository and are not at `place`; "" when all are there."""
        return ", ".join(name for name in self.files if not (place / name).is_file())

    def owner(self, place: Path) -> str:
        """The value of `--model` for what is at `place`, if that is known to be another family's; or ""."""
        return next((model for name, model in self.relatives if (place / name).is_file()), "")


@dataclass(frozen=True)
class Checkout:
    """A checkout that fits.

    Attributes:
        path: its root, absolute.
        found_by: for people, such as `--repo` or `environment NAVICACHE_WAN_REPO`.
        commit: full hash, or "unknown" (not a git checkout, or no git).
    """

    path: Path
    found_by: str
    commit: str


def managed_path(name: str) -> Path:
    """Return where `navicache setup` keeps the checkout `name`, honouring XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_user(cache) / "navicache" / "repos" / name


def resolve_repository(official: Official, flag: str = "") -> Checkout:
    """Find the checkout to use; see `choose_repository`."""
    return choose_repository([official], flag)[1]


def choose_repository(officials: Sequence[Official], flag: str = "") -> tuple[Official, Checkout]:
    """Find the checkout to use, of a family that may run through any of several repositories.

    Args:
        officials: the repositories, all of one family; the first is the one to recommend.
        flag: the value of `--repo`, or "".

    Returns:
        Which repository it is, and where.

    Raises:
        BackendError: there is none, or a named directory is not one of them.
    """
    first, *others = officials
    for place, found_by, named in _places(officials, flag):
        for official in officials:
            if not official.missing(place):
                path = place.resolve()
                return official, Checkout(path, found_by, read_commit(path))
        if named and (model := first.owner(place)):
            raise BackendError(
                f"expected {first.title}'s repository at {place} ({found_by}), found that of {model}",
                f"--model {model}; or {first.clone}, and point {found_by.split()[-1]} at the clone",
            )
        if named:
            also = "".join(f", or {other.title}'s with {other.missing(place)}" for other in others)
            raise BackendError(
                f"expected {first.title}'s repository at {place} ({found_by}) with {first.missing(place)}"
                f"{also}; found {_describe(place)}",
                f"{first.clone}, and point {found_by.split()[-1]} at the clone"
                if found_by != "managed checkout"
                else f"remove {place}, then: navicache setup {first.name}",
            )
    packages = " or ".join(repr(official.package) for official in officials)
    raise BackendError(
        f"{first.title} needs its official repository; looked at --repo, {first.variable}, "
        f"{managed_path(first.name)}, the current directory and the importable package "
        f"{packages}, and found none",
        f"navicache setup {first.name}; or {first.clone}, and pass --repo or set {first.variable}",
    )


def missing_repository(officials: Sequence[Official]) -> str:
    """Say in one line why none of these repositories can be used; "" when one can."""
    try:
        choose_repository(officials)
    except BackendError as error:
        return error.message
    return ""


def _places(officials: Sequence[Official], flag: str) -> Iterator[tuple[Path, str, bool]]:
    """All places to look at: path, description, and whether it must fit."""
    variable, managed = officials[0].variable, managed_path(officials[0].name)
    if flag:
        yield expand_user(flag), "--repo", True
    if os.environ.get(variable):
        yield expand_user(os.environ[variable]), f"environment {variable}", True
    if managed.exists():
        yield managed, "managed checkout", True
    yield Path.cwd(), "current directory", False
    for official in officials:
        try:
            spec = find_spec(official.package)
        except ValueError:  # Something without a spec is in sys.modules under that name.
            spec = None
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent.parent, f"importable package {official.package}", False


def _describe(place: Path) -> str:
    """What is at a path, in a few words."""
    if not place.is_dir():
        return "a file" if place.exists() else "nothing"
    try:
        names = sorted(entry.name for entry in place.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"a directory that cannot be read: {error.strerror}"
    return (
        f"a directory with {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
        if names
        else "an empty directory"
    )


def read_commit(path: Path) -> str:
    """Return the commit checked out at `path`, or "unknown" if `path` is not the root of a git checkout."""
    command = ["git", "-C", str(path), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(
            command, env=git_environment(), capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    # An export inside somebody else's checkout would otherwise get that one's commit.
    lines = done.stdout.splitlines()
    inside = done.returncode == 0 and len(lines) == 2 and Path(lines[0]).resolve() == path.resolve()
    return lines[1] if inside else UNKNOWN


def git_environment() -> dict[str, str]:
    """Return the environment for git, without a GIT_DIR of somebody else's repository."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}


def describe_checkout(official: Official, checkout: Checkout) -> list[str]:
    """Return notes for the user: which checkout was taken, and whether its commit is the tested one."""
    home, path = Path.home(), checkout.path
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    notes = [f"{official.title} from {shown} ({checkout.found_by}), commit {checkout.commit[:7]}"]
    if checkout.commit != official.tested_commit:
        tested = official.tested_commit[:7]
        advice = f"git -C {shown} checkout {tested}"
        if checkout.commit == UNKNOWN:
            advice = "no git checkout, or one that git will not read"
        notes.append(
            f"commit {checkout.commit[:7]} of {official.title} is untested; tested: {tested} ({advice})"
        )
    return notes


def import_package(official: Official, checkout: Checkout, modules: Iterable[str] = ()) -> ModuleType:
    """Import the package of a checkout, or its parts, under the name that `official` says.

    `sys.path` stays as it is: an official root also holds folders such as `tests` that would hide others.

    Args:
        official: which repository.
        checkout: where it is.
        modules: full names of modules inside the package that are imported as well.

    Raises:
        BackendError: another checkout's package is loaded already, or a package it needs is missing.
    """
    name, root = official.module, checkout.path / official.package
    loaded = sys.modules.get(name)
    if loaded is not None:
        place = Path(loaded.__file__ or "").resolve().parent
        if place != root:
            raise BackendError(
                f"expected the package {name!r} of {root}, found the one of {place} loaded already",
                "use one checkout in one process",
            )
    try:
        module = loaded or _make(name, root, run=not official.parts)
        for inner in (*(f"{name}.{part}" for part in official.parts), *modules):
            import_module(inner)
    except BaseException as error:
        for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[key]
        if isinstance(error, ImportError):
            ours = error.name is not None and error.name.partition(".")[0] == name
            absent = isinstance(error, ModuleNotFoundError)
            raise BackendError(
                f"{official.title} at {checkout.path} cannot be imported: {error}",
                f"check out {official.tested_commit[:7]}, the tested commit"
                if ours
                else f"navicache setup {official.setup}"
                if absent
                else torchvision_hint(error) or f"navicache doctor --model {official.name}",
            ) from error
        if isinstance(error, RuntimeError | OSError):  # A compiled package made for another torch.
            raise BackendError(
                f"{official.title} at {checkout.path} cannot be imported: {one_line(error, 300)}",
                torchvision_hint(error) or f"navicache doctor --model {official.name}",
            ) from error
        raise
    return module


def _make(name: str, root: Path, run: bool) -> ModuleType:
    """Make the package `name` of the folder `root`, as an import does that finds it there; `run` its code."""
    spec = spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None, "a file location always gives a spec"
    assert spec.loader is not None, "a file location always gives a loader"
    module = module_from_spec(spec)
    sys.modules[name] = module
    if run:
        spec.loader.exec_module(module)
    return module
