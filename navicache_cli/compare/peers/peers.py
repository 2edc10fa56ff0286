"""Peers: caches that other libraries implement, run on the same weights. Imports none of them.

Every knob of a peer is a number, so that any of them can be swept. The defaults here are the libraries'
own; a preset's `peers` has those of its model. How each is switched on is in `caches`, how its
work is counted in `meter`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from navicache_cli.errors import BackendError, UsageError
from navicache_cli.plan.presets import Preset, unknown

# Distributions, each with the first version that has all that is used of it.
PACKAGES = {"diffusers": "0.41", "cache-dit": "1.5"}
_HINT = "pip install 'navicache[peers]'"


@dataclass(frozen=True)
class Peer:
    """One cache of another library.

    Attributes:
        package: distribution that implements it.
        knobs: what can be set, with the library's own value; whole numbers stay whole.
        most: what a knob cannot exceed.
    """

    package: str
    knobs: dict[str, float]
    most: dict[str, float] = field(default_factory=dict)


_TAYLOR: dict[str, float] = {"interval": 5, "order": 1, "warmup": 3}
# The library's own 8 first blocks are for models of 28 blocks and more.
_DBCACHE: dict[str, float] = {"threshold": 0.08, "first": 1, "last": 0, "warmup": 8}
PEERS = {
    "diffusers:off": Peer("diffusers", {}),
    "diffusers:fbcache": Peer("diffusers", {"threshold": 0.05}),
    "diffusers:magcache": Peer("diffusers", {"threshold": 0.06, "max_skips": 3, "retention": 0.2}),
    "diffusers:seacache": Peer(
        "diffusers", {"threshold": 0.25, "order": 1, "warmup": 1, "end": 1, "max_skips": 2}, {"order": 1}
    ),
    "diffusers:taylorseer": Peer("diffusers", _TAYLOR),
    "diffusers:taylorseer-lite": Peer("diffusers", _TAYLOR),
    "diffusers:pab": Peer("diffusers", {"self": 2, "cross": 6, "window_low": 100, "window_high": 800}),
    "cache-dit:dbcache": Peer("cache-dit", _DBCACHE),
    "cache-dit:dbcache-taylor": Peer("cache-dit", {**_DBCACHE, "order": 1}),
    "cache-dit:dbcache-dmd": Peer("cache-dit", {**_DBCACHE, "history": 6}),
    "cache-dit:dbcache-foca": Peer("cache-dit", _DBCACHE),
}
# What a knob cannot be below, where that is not 0.
_LEAST = {"interval": 1, "self": 1, "cross": 1, "first": 1, "history": 4}


def installed(name: str) -> bool:
    """Whether the library of a peer is there."""
    try:
        check_installed(name)
    except BackendError:
        return False
    return True


def check_installed(name: str) -> None:
    """Check that the library of a peer is there, in a version that will do.

    Raises:
        BackendError: it is not.
    """
    from packaging.version import Version

    package = PEERS[name].package
    needed = ["diffusers", package] if package != "diffusers" else [package]
    for one in needed:
        try:
            found = version(one)
        except PackageNotFoundError:
            found = ""
        if not found or Version(found) < Version(PACKAGES[one]):
            raise BackendError(
                f"{name} expects the package {one} {PACKAGES[one]} or later, found {found or 'none'}", _HINT
            )


def check_offered(name: str, preset: Preset) -> None:
    """Check that a peer can judge a model.

    Raises:
        UsageError: the model's weights do not run in the peer's library here.
    """
    if name not in preset.peers:
        raise UsageError(
            f"{name} expects a model whose weights it can run, tiny, found {preset.model}", "--model tiny"
        )


def check_knobs(name: str, values: dict[str, float]) -> dict[str, float]:
    """Return the knobs of a peer, whole where they are meant to be.

    Raises:
        UsageError: one is not known, or out of range.
    """
    knobs, most, checked = PEERS[name].knobs, PEERS[name].most, {}
    for knob, value in values.items():
        if knob not in knobs:
            raise UsageError(unknown(f"option of {name}", knob, knobs), "see docs/comparing.md")
        whole, least = isinstance(knobs[knob], int), _LEAST.get(knob, 0)
        if not least <= value <= most.get(knob, value) or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            limits = f"from {least} to {most[knob]}" if knob in most else f"of at least {least}"
            raise UsageError(
                f"{knob} of {name} expects {kind} {limits}, found {value:g}",
                f"the default is {knobs[knob]:g}",
            )
        checked[knob] = int(value) if whole else float(value)
    return checked
