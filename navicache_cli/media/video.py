"""Videos out: H.264 in MP4 through the ffmpeg program; `video_in` reads them.

The same frames give the same bytes (one encoder thread, ffmpeg's bitexact mode), so a seed can be checked
by a SHA-256. A file appears under its name only when it is complete: it is written beside it, under a
hidden name, and renamed at the end.
"""

from __future__ import annotations

import errno
import math
import re
import signal
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navicache_cli.errors import OutputError, cannot_write
from navicache_cli.files import check_new, part_of, publish, sha256_of, sync
from navicache_cli.media import ffmpeg
from navicache_cli.media.video_in import read_video as read_video

if TYPE_CHECKING:
    from torch import Tensor

MAX_TAG_CHARS = 2000  # longer metadata values are cut to this, the last character being an ellipsis

# BT.709 is what players assume for files without a note; it is written down all the same.
_TO_YUV = (
    f"scale=out_color_matrix=bt709:out_range=tv:{ffmpeg.SCALE},format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
_ELSEWHERE = "choose a folder you may write to with --output"


@dataclass(frozen=True)
class VideoInfo:
    """What was written: the file, its SHA-256 in hex, frames, pixels, frames per second, size in bytes."""

    path: Path
    sha256: str
    frames: int
    width: int
    height: int
    fps: float
    bytes: int


def to_uint8(video: Tensor) -> np.ndarray:
    """Turn a decoded video into frames in memory: `to_frames` as an array.

    Raises:
        OutputError: as `to_frames`.
    """
    return to_frames(video).cpu().numpy()


def to_frames(video: Tensor) -> Tensor:
    """Turn a decoded video into frames: [3, F, H, W] float in [-1, 1] to [F, H, W, 3] uint8, rounded.

    They stay on the device of the video. Values outside [-1, 1] are clipped.

    Raises:
        OutputError: another shape, or values that are not finite.
    """
    from einops import rearrange

    if video.ndim != 4 or video.shape[0] != 3:
        raise OutputError(
            f"expected a video of shape [3, frames, height, width]; found {list(video.shape)}",
            "check what the model's decoder returned",
        )
    broken = int((~video.isfinite()).sum())
    if broken:
        hint = "generate with --mode off to see whether the model itself makes them"
        raise OutputError(f"expected finite pixels; {broken} of {video.numel()} are NaN or infinite", hint)
    pixels = video.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return rearrange(pixels.byte(), "c f h w -> f h w c").contiguous()


def check_video_name(path: Path) -> None:
    """Check that a video may be called that.

    Raises:
        OutputError: it is not an .mp4 name.
    """
    if path.suffix.lower() != ".mp4":
        raise OutputError(f"expected an output name that ends in .mp4; found {path}", f"{path}.mp4")


def write_video(
    frames: np.ndarray,
    path: Path,
    fps: float,
    metadata: dict[str, str],
    overwrite: bool = False,
    crf: int = 17,
) -> VideoInfo:
    """Write a video under its name in one move; missing parent folders are made.

    Args:
        frames, fps, metadata, crf: see `encode_video`.
        path: ends in .mp4.
        overwrite: replace a file of that name, which stays as it was until the new one is complete.

    Raises:
        OutputError: as `encode_video`; another kind of name, or one that is taken. No partial file is left
            then, nor after KeyboardInterrupt, which passes through.
    """
    check_video_name(path)
    _check_video(frames, fps)
    check_new(path, overwrite)
    try:
        with part_of(path) as part:
            info = encode_video(frames, part, fps, metadata, path, crf)
            publish([(part, path)], overwrite)
    except OSError as error:
        raise cannot_write(path, error, _ELSEWHERE) from error
    return info


def encode_video(
    frames: np.ndarray, part: Path, fps: float, metadata: dict[str, str], path: Path, crf: int = 17
) -> VideoInfo:
    """Encode [F, H, W, 3] uint8 RGB frames as H.264 (yuv420p, faststart) at exactly `fps` frames per second.

    Args:
        frames: even height and width.
        part: the file to write, see `files.part_of`; complete and on the disk when this returns.
        fps: up to 3 decimals, or a ratio such as 24000 / 1001.
        metadata: MP4 tags. In keys, anything but letters, digits and `_.-` becomes `_`. In values, control
            characters (line breaks too) become spaces, MAX_TAG_CHARS is the limit, empty ones are left out.
        path: what the file will be called, for `VideoInfo` and for errors.
        crf: x264's constant rate factor, 0 (largest) to 51; 17 is hard to tell from the frames.

    Raises:
        OutputError: odd sizes or another dtype; the disk is full; ffmpeg failed.
        OSError: the file cannot be read again.
    """
    rate = _check_video(frames, fps)
    count, height, width, _ = frames.shape
    args = f"-f rawvideo -pix_fmt rgb24 -video_size {width}x{height} -framerate {rate} -i pipe:0"
    args += f" -map 0:v -vf {_TO_YUV} -c:v libx264 -preset medium -crf {crf} -threads 1"
    # Custom tags survive in MP4 only with use_metadata_tags; faststart puts the index before the pictures.
    args += " -fflags +bitexact -flags:v +bitexact -movflags +faststart+use_metadata_tags -f mp4"
    command: list[str | bytes] = [*args.split(), *_tags(metadata), ffmpeg.url(part)]
    code, _, complaint = ffmpeg.run(command, frames.tobytes())
    if code != 0:
        raise _not_written(path, code, complaint)
    sync(part)
    return VideoInfo(path, sha256_of(part), count, width, height, float(rate), part.stat().st_size)


def _check_video(frames: np.ndarray, fps: float) -> Fraction:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        found = f"{frames.dtype} {list(frames.shape)}"
        raise OutputError(
            f"expected uint8 frames of shape [frames, height, width, 3]; found {found}",
            "make them with to_uint8",
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        hint = f"--size {width + width % 2}x{height + height % 2}"
        raise OutputError(f"expected an even width and height for yuv420p; found {width}x{height}", hint)
    # NTSC rates are ratios over 1001; everything else in use is a short decimal.
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else Fraction(0)
    if rate <= 0:
        raise OutputError(f"expected a positive number of frames per second; found {fps}", "--set fps=16")
    return rate


def _tags(metadata: dict[str, str]) -> list[bytes]:
    """One `-metadata key=value` a tag; bytes, so that the locale has no say in the encoding."""
    args = []
    for key, value in metadata.items():
        clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in value)
        if len(clean) > MAX_TAG_CHARS:
            clean = clean[: MAX_TAG_CHARS - 1] + "…"
        if clean:
            args += [b"-metadata", f"{re.sub('[^A-Za-z0-9_.-]', '_', key)}={clean}".encode()]
    return args


def _not_written(path: Path, code: int, complaint: str) -> OutputError:
    # A file size limit (ulimit -f) ends ffmpeg by a signal, without a word.
    limited = hasattr(signal, "SIGXFSZ") and code == -signal.SIGXFSZ
    if limited or re.search("No space left|quota exceeded|File too large", complaint):
        return cannot_write(path, OSError(errno.ENOSPC, complaint), _ELSEWHERE)
    hint = "unset IMAGEIO_FFMPEG_EXE to use the ffmpeg of imageio-ffmpeg"
    told = ffmpeg.complaints(complaint) or ["no reason given"]
    return OutputError(f"cannot write {path}: ffmpeg ended with {code}: {told[-1]}", hint)
