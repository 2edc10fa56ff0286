"""Pictures and videos that a video starts from or refers to."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from navicache_cli.errors import OutputError, UsageError
from navicache_cli.media.picture_in import read_picture
from navicache_cli.media.video_in import probe_video
from navicache_cli.reading import expand_user
from navicache_cli.values import split_commas


def reference_paths(references: str) -> list[str]:
    """Return the paths in the option `reference_images`, which have commas between."""
    return split_commas(references) if references else []


def picture_file(path: str) -> BytesIO:
    """Return a picture as the official code may open it: in memory, as `read_picture` reads it.

    Official code that is given a path takes the picture's raw pixels, however they are to be shown.

    Raises:
        UsageError: as `read_picture`.
    """
    file = BytesIO()
    read_picture(path).save(file, "PPM")  # no time is spent on compressing
    file.seek(0)
    return file


def check_video(path: str) -> Path:
    """Check that a video can be read, by its first frame, and return its full path.

    Raises:
        UsageError: it is missing, no regular file, not a video, or has very large frames.
    """
    full = expand_user(path)
    try:
        probe_video(full, first_frame_only=True)
    except OutputError as error:
        raise UsageError(error.message, error.hint) from None
    return full.resolve()
