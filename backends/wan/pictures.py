"""Pictures that a video starts from or refers to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


def picture_paths(value: str, option: str) -> list[str]:
    """Return the paths in a plan's option; only `reference_images` holds several, with commas between."""
    return [path.strip() for path in value.split(",")] if option == "reference_images" else [value]


def read_picture(path: str) -> Image:
    """Read a picture as RGB.

    Raises:
        UsageError: the file is missing or not a picture.
    """
    from PIL import Image

    try:
        with Image.open(Path(path).expanduser()) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is not a whole picture in a known format"
        raise UsageError(
            f"cannot read the image {path}: {reason}", "check the path, or save it as PNG"
        ) from None
