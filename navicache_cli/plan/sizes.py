"""Sizes and numbers of frames by name, for the families that have such names: `480p` at `9:16`, `4s`."""

from __future__ import annotations

from typing import Any

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.presets import ANY, AUTO, Preset, unknown


def read_option(preset: Preset, option: str, value: Any) -> Any:
    """Read a key's value as `READERS` does; a name of the preset will do for a size or number of frames.

    The name of a size is returned as it is: its pixels depend on the aspect ratio, see `settle_size`.

    Raises:
        ValueError: with what is expected.
    """
    named: dict[str, Any] = {}
    if option == "size":
        named = {name: name for name in (*preset.named_sizes, *((AUTO,) if takes_any(preset) else ()))}
    elif option == "frames":
        named = preset.named_frames
    name = str(value).strip().lower()
    if name in named:
        return named[name]
    try:
        return READERS[option](value)
    except ValueError as error:
        raise ValueError(f"{error}, or one of {', '.join(named)}" if named else str(error)) from None


def takes_any(preset: Preset) -> bool:
    """Whether a family leaves sizes to its weights; then a size may also be `AUTO`."""
    return any(ANY in spec["sizes"] for spec in preset.tasks.values())


def settle_size(preset: Preset, size: str, aspect_ratio: str) -> tuple[str, str]:
    """Return a size in pixels, `WIDTHxHEIGHT`, and its aspect ratio.

    Args:
        preset: of a family with or without names.
        size: a name or `WIDTHxHEIGHT`. One in pixels that has no name is returned as it is.
        aspect_ratio: one of the preset's, or "" for the default or that of the pixels.

    Raises:
        UsageError: the ratio has no name here, or is not the one of the pixels given.
    """
    if not preset.named_sizes:
        return size, aspect_ratio
    if aspect_ratio and aspect_ratio not in preset.aspect_ratios:
        raise UsageError(
            unknown(f"aspect-ratio of {preset.model}", aspect_ratio, preset.aspect_ratios),
            f"--aspect-ratio {preset.aspect_ratios[0]}",
        )
    if size in preset.named_sizes:
        ratio = aspect_ratio or preset.aspect_ratios[0]
        return preset.named_sizes[size][preset.aspect_ratios.index(ratio)], ratio
    found = name_of_size(preset, size)
    if found is None:
        return size, aspect_ratio
    if aspect_ratio not in ("", found[1]):
        raise UsageError(
            f"aspect-ratio expects {found[1]}, which is that of size {size}, found {aspect_ratio!r}",
            f"--size {found[0]} --aspect-ratio {aspect_ratio}",
        )
    return size, found[1]


def name_of_size(preset: Preset, size: str) -> tuple[str, str] | None:
    """Return name and aspect ratio of a size in pixels, or None if it has none."""
    for name, sizes in preset.named_sizes.items():
        if size in sizes:
            return name, preset.aspect_ratios[sizes.index(size)]
    return None


def sizes_in_pixels(preset: Preset, sizes: list[str]) -> list[str]:
    """Replace the names among a task's sizes by all sizes in pixels that they stand for."""
    return [pixels for size in sizes for pixels in preset.named_sizes.get(size, [size])]
