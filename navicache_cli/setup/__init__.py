"""The steps of `navicache setup`: the official code, its Python packages, the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: what it brings.
        done: what is there already, or "" when there is something to do.
        commands: how one would do it by hand.
        run: does it; raises a NavicacheError when it cannot be done.
    """

    title: str
    done: str
    commands: list[list[str]]
    run: Callable[[], None]
