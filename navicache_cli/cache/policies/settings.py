"""Settings that one caching method alone takes: a frozen dataclass beside its policy, a field for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What is known of a setting besides its default.

    Attributes:
        read: from text or YAML to the plain value that plans and reports hold; raises ValueError with what it
            expects.
        example: a value to type.
        convert: from that plain value to what the policy takes.
        file: it names a file.
    """

    read: Callable[[Any], Any]
    example: str
    convert: Callable[[Any], Any] | None = None
    file: bool = False


@dataclass(frozen=True)
class NoSettings:
    """Of a method that takes none of its own."""


def setting(
    default: Any,
    read: Callable[[Any], Any],
    example: str,
    convert: Callable[[Any], Any] | None = None,
    file: bool = False,
) -> Any:
    """Declare a field of a method's settings; see `Setting`."""
    return field(default=default, metadata={"setting": Setting(read, example, convert, file)})


def settings_of(kind: Any) -> dict[str, Setting]:
    """Return the settings that a dataclass, or one of its objects, has, by name."""
    return {one.name: one.metadata["setting"] for one in fields(kind)}
