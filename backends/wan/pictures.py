"""Pictures and videos that a video starts from or refers to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError
from navicache_cli.reading import expand_user

if TYPE_CHECKING:
    from PIL.Image import Image


def reference_paths(references: str) -> list[str]:
    """Return the paths in the option `reference_images`, which have commas between."""
    return [path.strip() for path in references.split(",")] if references else []


def read_picture(path: str) -> Image:
    """Read a picture as RGB.

    Raises:
        UsageError: the file is missing or not a picture.
    """
    from PIL import Image

    try:
        with Image.open(expand_user(path)) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is not a whole picture in a known format"
        raise UsageError(
            f"cannot read the image {path}: {reason}", "check the path, or save it as PNG"
        ) from None


def check_video(path: str) -> Path:
    """Check that a video can be read, by its first frame, and return its full path.

    Raises:
        UsageError: the file is missing or not a video.
    """
    from imageio_ffmpeg import read_frames

    full = expand_user(path).resolve()
    reason = "it is not a video in a known format"
    try:
        if not full.is_file():
            reason = "no such file"
            raise OSError
        frames = read_frames(str(full))
        next(frames), next(frames)  # facts first, then the first frame
        frames.close()
    except (OSError, RuntimeError, StopIteration, ValueError):
        raise UsageError(
            f"cannot read the video {path}: {reason}", "check the path, or save it as MP4"
        ) from None
    return full
