"""Videos in and out: H.264 in MP4 through the ffmpeg program that comes with imageio-ffmpeg.

The same frames give the same bytes (one encoder thread, ffmpeg's bitexact mode), so a seed can be checked
by a SHA-256. A file appears under its name only when it is complete: it is written beside it, under a
hidden name, and renamed at the end.
"""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import subprocess
import unicodedata
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navicache_cli.errors import OutputError
from navicache_cli.files import cannot_write, check_new, part_of, publish, sha256_of, sync
from navicache_cli.interruption import uninterrupted

if TYPE_CHECKING:
    from torch import Tensor

MAX_TAG_CHARS = 2000  # longer metadata values are cut to this, the last character being an ellipsis

# Correct rounding and full chroma when converting, and the same result on every processor.
_SCALE = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
# BT.709 is what players assume for files without a note; it is written down all the same.
_TO_YUV = (
    f"scale=out_color_matrix=bt709:out_range=tv:{_SCALE},format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
# Only containers: ffmpeg would also play text files as ANSI art and follow playlists to other files.
_CONTAINERS = "mov,matroska,webm,avi,gif"
_ELSEWHERE = "choose a folder you may write to with --output"
_MADE_BY_MUXER = {"major_brand", "minor_version", "compatible_brands"}


@dataclass(frozen=True)
class VideoInfo:
    """What was written: the file, its SHA-256 in hex, frame count, pixels, frames a second, size in bytes."""

    path: Path
    sha256: str
    frames: int
    width: int
    height: int
    fps: float
    bytes: int


def to_uint8(video: Tensor) -> np.ndarray:
    """Turn a decoded video into frames: [3, F, H, W] float in [-1, 1] to [F, H, W, 3] uint8, rounded.

    Values outside [-1, 1] are clipped.

    Raises:
        OutputError: another shape, or values that are not finite.
    """
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
    return pixels.byte().permute(1, 2, 3, 0).contiguous().cpu().numpy()


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
    """Encode [F, H, W, 3] uint8 RGB frames as H.264 (yuv420p, faststart) at exactly `fps` frames a second.

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
    command: list[str | bytes] = [*args.split(), *_tags(metadata), _url(part)]
    code, _, complaint = _ffmpeg(command, frames.tobytes())
    if code != 0:
        raise _not_written(path, code, complaint)
    sync(part)
    return VideoInfo(path, sha256_of(part), count, width, height, float(rate), part.stat().st_size)


def read_video(path: Path) -> tuple[np.ndarray, float]:
    """Read a video: all frames [F, H, W, 3] uint8 RGB, and frames a second.

    Raises:
        OutputError: no such file, or not a video in an MP4, MKV, WebM, AVI or GIF file.
    """
    first = _decoded(path, "-map 0:v:0 -frames:v 1 -f framecrc").decode()
    head = re.search(r"^#tb 0: (\d+)/(\d+)$.*^#dimensions 0: (\d+)x(\d+)$", first, re.MULTILINE | re.DOTALL)
    if head is None:
        raise OutputError(f"expected a video; {path} has no frames", "generate or download it again")
    ticks, second, width, height = map(int, head.groups())  # the time base is one frame
    raw = _decoded(path, f"-map 0:v:0 -vf scale={_SCALE} -pix_fmt rgb24 -f rawvideo")
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    return frames.copy(), second / ticks  # a copy, as a view of bytes would be read-only


def read_metadata(path: Path) -> dict[str, str]:
    """Read a file's tags as `write_video` wrote them, without those the container makes by itself.

    Raises:
        OutputError: as `read_video`.
    """
    text = _decoded(path, "-fflags +bitexact -f ffmetadata").decode(errors="replace")
    tags: dict[str, str] = {}
    # In this format = ; # \ and line breaks have a backslash before them, so lines end at a bare break.
    for line in re.findall(r"(?:\\.|[^\\\n])+", text, re.DOTALL):
        if line.startswith("["):  # from here on it is about streams and chapters
            break
        pair = re.fullmatch(r"((?:\\.|[^\\=])*)=(.*)", line, re.DOTALL)
        if pair:
            key, value = (re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in pair.groups())
            tags[key] = value
    return {key: value for key, value in tags.items() if key not in _MADE_BY_MUXER}


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
        raise OutputError(f"expected a positive number of frames a second; found {fps}", "--set fps=16")
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


def _url(path: Path) -> bytes:
    """A file name that ffmpeg can take for nothing else: not an option, a protocol or a pattern."""
    return b"file:" + os.fsencode(path.absolute())


def _ffmpeg(args: list[str | bytes], feed: bytes | None = None) -> tuple[int, bytes, str]:
    """Run ffmpeg with `feed` as its input; exit status, output, and what it complained about."""
    # -xerror: older versions end well (status 0) when the last bytes of a file could not be written.
    options = ["-loglevel", "error", "-xerror", "-nostdin", "-y"]
    pipe = subprocess.PIPE
    try:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, *args]
    except (ImportError, RuntimeError, OSError) as error:
        raise _no_ffmpeg(error) from error
    with ExitStack() as stack:
        # Not to be stopped before we could end what was started.
        with uninterrupted():
            try:
                # A session of its own: Ctrl-C reaches us only, and we end ffmpeg, in that order.
                process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
                )
            except OSError as error:
                raise _no_ffmpeg(error) from error
            stack.enter_context(process)
            kill = stack.enter_context(ExitStack())
            kill.callback(process.kill)
        output, complaint = process.communicate(feed)  # a broken pipe shows in the exit status
        kill.pop_all()
    return process.returncode, output, complaint.decode(errors="replace")


def _no_ffmpeg(error: Exception) -> OutputError:
    hint = "pip install imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE"
    return OutputError(f"expected an ffmpeg program; cannot run one: {error}", hint)


def _decoded(path: Path, form: str) -> bytes:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not there"
        raise OutputError(f"expected a video file; {path} is {found}", "check the path")
    args: list[str | bytes] = ["-format_whitelist", _CONTAINERS, "-i", _url(path), *form.split(), "-"]
    code, output, complaint = _ffmpeg(args)
    if code != 0 or not output:
        raise OutputError(
            f"expected a video; ffmpeg cannot read {path}: {_last_line(complaint)}",
            "name an MP4, MKV, WebM, AVI or GIF file, or generate it again",
        )
    return output


def _last_line(complaint: str) -> str:
    return (complaint.strip().splitlines() or ["no reason given"])[-1]


def _not_written(path: Path, code: int, complaint: str) -> OutputError:
    # A file size limit (ulimit -f) ends ffmpeg by a signal, without a word.
    limited = hasattr(signal, "SIGXFSZ") and code == -signal.SIGXFSZ
    if limited or re.search("No space left|quota exceeded|File too large", complaint):
        return cannot_write(path, OSError(errno.ENOSPC, complaint), _ELSEWHERE)
    hint = "unset IMAGEIO_FFMPEG_EXE to use the ffmpeg of imageio-ffmpeg"
    return OutputError(f"cannot write {path}: ffmpeg ended with {code}: {_last_line(complaint)}", hint)
