"""Digests of this program's own code: figures that other code made are known by them, and not kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

from navicache_cli import __version__

Source = tuple[str, bytes]  # a file's name, the same on every machine, and what is in it


def own_sources(parts: Iterable[str]) -> list[Source]:
    """Return the sources of modules and packages of navicache_cli; where there are none, its version."""
    package = files("navicache_cli")
    found = [source for part in parts for source in sources_below(part, package.joinpath(part))]
    return found or [("navicache", __version__.encode())]


def sources_below(name: str, place: Any) -> Iterator[Source]:
    """Yield a file, or all Python sources of a folder; a place is a path, or one in an archive."""
    if place.is_dir():
        for one in sorted(place.iterdir(), key=lambda one: one.name):
            if one.is_dir() or one.name.endswith(".py"):
                yield from sources_below(f"{name}/{one.name}", one)
    elif place.is_file():
        yield name, place.read_bytes()


def digest_of(sources: Iterable[Source]) -> str:
    """Digest names and contents; ends of lines are as checkouts on other systems have them."""
    found = [(name, hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()) for name, text in sources]
    return hashlib.sha256(repr(found).encode()).hexdigest()
