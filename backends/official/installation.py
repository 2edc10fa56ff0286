"""What a model family needs on a machine, as data: official code, Python packages, weights, GPU memory.

`navicache setup` installs it and `navicache doctor` looks whether it is there. Each family describes itself
in its own `installation.py`, without importing torch or official code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from backends.official.repositories import Checkout, Official, managed_path
from backends.official.weight_files import managed_weights, read_mapping

DOWNLOADED = ".navicache-download.json"

# The second variant of a family carries a name of its own here and shares the family's place.
MODULES = {
    "wan": ("backends.wan.installation", "INSTALLATION"),
    "wan2.2": ("backends.wan.installation", "WAN22_INSTALLATION"),
    "hunyuan": ("backends.hunyuan.installation", "INSTALLATION"),
    "opensora": ("backends.opensora.installation", "INSTALLATION"),
    "videosys": ("backends.opensora.installation", "VIDEOSYS_INSTALLATION"),
}


@dataclass(frozen=True)
class Package:
    """A Python package.

    Attributes:
        requirement: as pip takes it.
        module: what is imported, where that is called otherwise.
    """

    requirement: str
    module: str = ""

    @property
    def name(self) -> str:
        return Requirement(self.requirement).name

    def found(self) -> str:
        """Return the version that is installed, "?" when only the module is known, "" when there is none."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            try:
                return "?" if find_spec(self.module or self.name) is not None else ""
            except ModuleNotFoundError:  # The package that the module is in is not there either.
                return ""

    def fits(self) -> bool:
        """Whether it is installed, in a version that will do; nothing is imported."""
        found = self.found()
        return found == "?" or (
            bool(found) and Requirement(self.requirement).specifier.contains(found, prereleases=True)
        )


def conflicts(packages: Iterable[Package]) -> list[str]:
    """Return what packages that are there need of others and do not find, by their metadata.

    pip leaves such a conflict behind where it is asked for one package alone, and says so in passing. Looked
    at are the packages and all that they need, without extras; what is not installed is passed over.
    """
    found, seen = [], set()
    waiting = [package.name for package in packages]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            there, needs = version(name), requires(name) or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            waiting.append(need.name)
            other = Package(f"{need.name}{need.specifier}")
            if not other.fits():
                found.append(f"{name} {there} needs {other.requirement} ({other.found() or 'none'} found)")
    return sorted(found)


@dataclass(frozen=True)
class Download:
    """One repository at huggingface.co.

    Attributes:
        repository: `owner/name`.
        folder: where it goes inside the folder of the weights, "" for all of that.
        only: patterns of the files that are needed; empty for all.
    """

    repository: str
    folder: str = ""
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Downloaded:
    """What `navicache setup` notes beside the files of a download.

    Attributes:
        repository: `owner/name`.
        revision: the full hash of its commit.
        finished: whether all files were there at the end; if not, the next run resumes at this revision.
    """

    repository: str
    revision: str
    finished: bool


def read_downloaded(folder: Path) -> Downloaded | None:
    """Read the note in a folder; None where there is none, or none that can be used."""
    try:
        noted = read_mapping(folder / DOWNLOADED)
        found = Downloaded(str(noted["repository"]), str(noted["revision"]), noted["finished"] is True)
    except (ValueError, KeyError):
        return None
    return found if re.fullmatch(r"[0-9a-f]{40}", found.revision) else None


@dataclass(frozen=True)
class Weights:
    """A set of weights under one name.

    Attributes:
        name: as used with `navicache setup --weights`.
        downloads: where it comes from.
        gigabytes: disk space it takes, in 10^9 bytes, rounded up.
        locate: finds and checks them by the functions that `generate` uses: from the value of `--weights` or
            "", the official code if there is any, and whether the fp8 files are wanted, to the folders. It
            raises WeightsError where `generate` would.
        folder: its folder among the managed weights, the name if None.
        prepare: arguments of a Python script of the official repository that has to run once after the
            download; `{weights}` is the folder.
    """

    name: str
    downloads: tuple[Download, ...]
    gigabytes: float
    locate: Callable[[str, Checkout | None, bool], list[Path]]
    folder: str | None = None
    prepare: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """Where `navicache setup` keeps them."""
        return managed_weights(self.name if self.folder is None else self.folder)

    def size_in(self, folder: Path) -> float:
        """Return how much of them is in a folder, unfinished files included, in 10^9 bytes."""
        paths = {path for part in self.downloads for path in (folder / part.folder).rglob("*")}
        return sum(path.stat().st_size for path in paths if path.is_file()) / 1e9

    def downloaded(self, folders: Iterable[Path]) -> list[Downloaded]:
        """Return what is noted of the downloads in folders, as `locate` finds them."""
        places = {place / part.folder for place in folders for part in self.downloads} | {*folders}
        noted = filter(None, map(read_downloaded, sorted(places)))
        return list({one.repository: one for one in noted}.values())


@dataclass(frozen=True)
class Memory:
    """GPU memory one task takes, as its makers measured it.

    Attributes:
        gigabytes: on one GPU, in 2^30 bytes.
        source: where the figure is from.
    """

    gigabytes: float
    source: str


@dataclass(frozen=True)
class Installation:
    """All that a family needs.

    Attributes:
        official: its repository.
        packages: what inference imports; torch comes with navicache.
        weights: all sets there are.
        weights_name: from a task and a size `WIDTHxHEIGHT` to the name of the set it uses.
        memory: GPU memory by task.
        import_code: imports of a checkout what generation needs, as `generate` does.
    """

    official: Official
    packages: tuple[Package, ...]
    weights: tuple[Weights, ...]
    weights_name: Callable[[str, str], str]
    memory: dict[str, Memory]
    import_code: Callable[[Checkout], object] | None = None

    @property
    def place(self) -> Path:
        """Where `navicache setup` keeps the checkout."""
        return managed_path(self.official.name)

    def weights_called(self, name: str) -> Weights | None:
        """Return the weights of that name, or None."""
        return next((weights for weights in self.weights if weights.name == name), None)


def installations() -> dict[str, Installation]:
    """Return every name `navicache setup` knows, and what it stands for."""
    return {name: getattr(import_module(module), value) for name, (module, value) in MODULES.items()}
