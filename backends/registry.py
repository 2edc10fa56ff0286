"""Finds model families: entry points in the group `navicache.backends`, built-in ones like any other."""

from __future__ import annotations

from importlib.metadata import entry_points

from navicache_cli.errors import BackendError

from .protocol import Backend

GROUP = "navicache.backends"


def backend_names() -> list[str]:
    """Return the names of all installed families, without importing them."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def get_backend(name: str) -> Backend:
    """Import and return the family `name`.

    Raises:
        BackendError: no package offers it, or its package fails to import.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                backend: Backend = point.load()()
            except ImportError as error:
                raise BackendError(
                    f"the backend {name!r} ({point.value}) cannot be imported: {error}",
                    "reinstall the package that offers it",
                ) from error
            return backend
    raise BackendError(
        f"this installation cannot run {name!r}: no package offers a backend of that name, found: "
        f"{', '.join(backend_names()) or 'none'}",
        "use --model tiny" if backend_names() else "install navicache itself: pip install -e .",
    )
