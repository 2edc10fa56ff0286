"""Replaces names in a module for a while: how official code is given other parts without being copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from navicache_cli.errors import BackendError


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
