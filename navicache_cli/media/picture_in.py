"""Pictures in: upright, RGB, 8 bits per channel and nothing transparent, as a viewer shows them."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from typing import TYPE_CHECKING

import numpy as np

from navicache_cli.errors import UsageError
from navicache_cli.reading import expand_user, open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 1 << 26  # 8192x8192; a file of a few bytes may say that it has any number
BACKGROUND = "white"


def read_picture(path: str) -> Image:
    """Read a picture, or the first frame of an animation, as RGB.

    It is turned as its EXIF orientation says, 16 bits of grey are scaled to 8, and what is transparent is
    laid on BACKGROUND.

    Raises:
        UsageError: it is missing, no regular file, not a whole picture, or has over MOST_PIXELS.
    """
    return _read(path)[0]


def check_picture(path: str) -> list[str]:
    """Check that `read_picture` can read a picture, and return notes on what that leaves out or makes up.

    Raises:
        UsageError: as `read_picture`.
    """
    return _read(path)[1]


def _read(path: str) -> tuple[Image, list[str]]:
    from PIL import Image

    notes = []
    try:
        with open_regular(expand_user(path)) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damage that it gets over and of sizes allowed here
            with Image.open(file) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _too_large(path, f"{picture.width}x{picture.height}")
                # Photographs with previews of other sizes (MPO) are no animations.
                if getattr(picture, "is_animated", False) and picture.format != "MPO":
                    notes.append(f"{path} has several frames: the first is taken")
                picture.load()
                flat, transparent = _flat(_in_8_bits(picture, path))
                if transparent:
                    notes.append(f"transparent parts of {path} are laid on {BACKGROUND}")
                return _upright(flat, picture), notes
    except UsageError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path, "far more") from None
    except Exception as error:  # Pillow raises whatever its readers stumble over
        reason = getattr(error, "strerror", None) or "it is not a whole picture in a known format"
        raise _cannot_read(path, reason) from None


def _in_8_bits(picture: Image, path: str) -> Image:
    """Scale 16 bits of grey to 8; Pillow would clip them."""
    from PIL import Image

    # Of mode I, Pillow has 16 bits of these formats, and of others 32 bits of any meaning.
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
        raise _cannot_read(path, "its pixels have 32 bits; 8 or 16 were expected")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    key = picture.info.get("transparency")  # the one value that is transparent
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _flat(picture: Image) -> tuple[Image, bool]:
    """Return the picture as RGB, and whether any of it was transparent."""
    from PIL import Image

    if picture.mode in ("1", "L", "RGB", "YCbCr", "CMYK") and "transparency" not in picture.info:
        return picture.convert("RGB"), False
    layer = picture.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB"), False
    ground = Image.new("RGBA", layer.size, BACKGROUND)
    ground.alpha_composite(layer)
    return ground.convert("RGB"), True


def _upright(flat: Image, picture: Image) -> Image:
    """Turn `flat` as the EXIF data of `picture`, the file it is from, say; damaged ones say nothing."""
    from PIL.ExifTags import Base
    from PIL.ImageOps import exif_transpose

    flat.info.clear()  # whose EXIF data may be damaged too
    with contextlib.suppress(Exception):
        flat.getexif()[Base.Orientation] = picture.getexif().get(Base.Orientation, 1)
    exif_transpose(flat, in_place=True)
    return flat


def _too_large(path: str, found: str) -> UsageError:
    return UsageError(
        f"expected a picture of at most {MOST_PIXELS // 10**6} million pixels; {path} has {found}",
        f"magick {shlex.quote(path)} -resize 2048x2048 small.png, or make it smaller elsewhere",
    )


def _cannot_read(path: str, reason: str) -> UsageError:
    return UsageError(f"cannot read the image {path}: {reason}", "check the path, or save it as PNG")
