"""Replaces names in modules: how official code is given other parts without being copied."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from navicache_cli.errors import BackendError


def loaded_modules(package: str) -> list[ModuleType]:
    """Return a package and the modules in it, those that are loaded, by name."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if (name == package or name.startswith(f"{package}.")) and isinstance(module, ModuleType)
    ]


def bind(owner: Any, function: Callable[..., Any]) -> str:
    """Put a function in the place of what a module or class has under its name, and return that in full.

    It lasts for the process: forwards look names up at every call, so a binding that ended with a pipeline
    would break another one of the same checkout. For a while, `replaced` is the one to use.
    """
    setattr(owner, function.__name__, function)
    return f"{owner.__name__}.{function.__name__}"


@contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Let `owner.name` be another value inside the `with` block, for each name; then as before.

    Args:
        owner: a module, or any object with these attributes.
        values: names and what stands for them meanwhile.

    Raises:
        BackendError: `owner` has no such name, so that replacing it would have no effect.
    """
    missing = [name for name in values if not hasattr(owner, name)]
    if missing:
        place = getattr(owner, "__name__", type(owner).__name__)
        raise BackendError(
            f"expected {', '.join(missing)} in {place}, found none",
            "check out the tested commit of the repository",
        )
    before = {name: vars(owner).get(name, _ABSENT) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            # What the object got from its class is not its own: taking ours away brings it back.
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


_ABSENT = object()
