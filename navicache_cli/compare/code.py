"""A digest of the code that decides, generates and measures: cells are known by it."""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from typing import Any

from navicache_cli.sources import Source, digest_of, own_sources, sources_below

# Of navicache_cli: what videos and figures depend on, not how options are read and results shown.
PARTS = (
    "cache", "media", "plan/method.py", "plan/schedules.py", "report/speed.py", "run/generation.py",
    "run/produce.py", "run/runner.py", "threads.py",
    "compare/peers", "compare/runners.py", "compare/running.py", "compare/work.py",
)  # fmt: skip
BUILT_IN = "backends"  # the package of the built-in families, which others may build on


def code_digest(backend: Any) -> str:
    """Digest the sources by their names and contents, the same on every machine that has them.

    Args:
        backend: the model family's; the whole package that it is from counts, beside those that are built in.
    """
    found = [*own_sources(PARTS), *sources_below(BUILT_IN, files(BUILT_IN))]
    # Magnitude ratios and schedules; whatever else presets say is in the plans.
    for one in sorted(files("presets").iterdir(), key=lambda one: one.name):
        if one.name.endswith(".json") or one.name.startswith("schedule-"):
            found += sources_below(one.name, one)
    return digest_of([*found, *_sources_of(backend)])


def _sources_of(backend: Any) -> list[Source]:
    """The sources of a package that is not built in; where there are none, its version."""
    module = sys.modules[type(backend).__module__]
    parts = module.__name__.split(".")
    if parts[0] == BUILT_IN:
        return []
    above = [sys.modules.get(".".join(parts[: n + 1])) for n in range(len(parts))]
    # The first that is no namespace, which packages of others may share.
    package = next((one for one in above if one and hasattr(one, "__path__") and one.__file__), None)
    if package is None:
        try:
            return [(module.__name__, inspect.getsource(module).encode())]
        except OSError:
            found = []
    else:
        found = list(sources_below(package.__name__, files(package)))
    return found or [(parts[0], ", ".join(map(version, packages_distributions().get(parts[0], []))).encode())]
