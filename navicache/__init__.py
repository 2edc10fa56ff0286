"""Video diffusion made faster without training: one line for any video pipeline of diffusers.

    import navicache

    navicache.enable(pipe, speedup=2)       # stays on until navicache.disable(pipe)
    with navicache.cached(pipe, speedup=2) as cache:
        video = pipe(prompt)
    print(cache.report())

See docs/library.md. Importing this imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from navicache_cli.errors import NavicacheError, SiteError, UsageError

if TYPE_CHECKING:
    from navicache.cache import Cache, NavicacheWarning, cached, disable, enable
    from navicache.report import CallReport, LoopReport

_HOMES = {
    **dict.fromkeys(("Cache", "NavicacheWarning", "cached", "disable", "enable"), "navicache.cache"),
    **dict.fromkeys(("CallReport", "LoopReport"), "navicache.report"),
}

__all__ = [
    "Cache",
    "CallReport",
    "LoopReport",
    "NavicacheError",
    "NavicacheWarning",
    "SiteError",
    "UsageError",
    "cached",
    "disable",
    "enable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
