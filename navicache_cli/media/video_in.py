"""Videos in: every decoded frame once, in order and at its own time, whatever the rate.

A video is looked over first, which tells its size and the times of its frames, and then read frame by frame,
so that a long one needs no more memory than a short one.
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np

from navicache_cli.errors import OutputError
from navicache_cli.media import ffmpeg
from navicache_cli.reading import open_regular

MOST_PIXELS = 1 << 25  # of a frame, 8192x4096; 8K is a little less
MOST_BYTES = 8 << 30  # of all frames of `read_video`

# Only containers: ffmpeg would also play text files as ANSI art and follow playlists to other files.
_CONTAINERS = "mov,matroska,webm,avi,gif,mpegts,mpeg,flv,ogg,asf"
# One thread, as each keeps frames of its own; refused sizes are never allocated.
_INPUT = f"-format_whitelist {_CONTAINERS} -max_pixels {MOST_PIXELS} -threads 1"
# The first stream that is no cover picture. Without passthrough ffmpeg would repeat and drop frames until
# they come at a constant rate.
_EVERY_FRAME = "-map 0:V:0 -fps_mode passthrough"
_SHOWN = r"\[Parsed_showinfo.*\] \[info\] "
_CLOCK = re.compile(_SHOWN + r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_FRAME = re.compile(_SHOWN + r"n: *\d+ pts: *(-?\d+|NOPTS) .* s:(\d+)x(\d+) ")
_ASSUMED_RATE = Fraction(25)  # as ffmpeg does where a file says nothing


@dataclass(frozen=True)
class VideoFacts:
    """A video that can be read.

    Attributes:
        path: the file.
        width, height: of the first frame in pixels; others are scaled to it.
        times: of each frame in seconds, in the order of decoding; they may go back where files were joined.
        fps: frames per second: the rate the file declares where the times keep to it, else their mean rate.
    """

    path: Path
    width: int
    height: int
    times: tuple[float, ...]
    fps: float


def probe_video(path: Path, first_frame_only: bool = False) -> VideoFacts:
    """Decode a video without keeping its frames.

    Args:
        path: an MP4, MKV, WebM, AVI or GIF file, or another usual container.
        first_frame_only: look no further; the other times are left out.

    Raises:
        OutputError: it is not there, no regular file, not a video, or its frames have over MOST_PIXELS.
    """
    _check_file(path)
    limit = ["-frames:v", "1"] if first_frame_only else []
    # The null output takes times that go back; outputs with times would not.
    args = [*_EVERY_FRAME.split(), *limit, "-vf", "showinfo=checksum=0", "-f", "null", "-"]
    code, _, said = ffmpeg.run([*_INPUT.split(), "-i", ffmpeg.url(path), *args], loglevel="level+info")
    lines = said.splitlines()
    clock = next(filter(None, map(_CLOCK.match, lines)), None)
    frames = [found.groups() for found in map(_FRAME.match, lines) if found]
    if first_frame_only:
        frames = frames[:1]  # the limit is one of writing, and more may have been decoded
    if code != 0 or clock is None or not frames:
        raise _unreadable(path, "\n".join(line for line in lines if "[error]" in line or "[fatal]" in line))
    top, bottom, rate, per = map(int, clock.groups())
    tick = Fraction(top, bottom)
    declared = Fraction(rate, per) if rate and per else _ASSUMED_RATE
    times = [i / declared if n == "NOPTS" else int(n) * tick for i, (n, _, _) in enumerate(frames)]
    width, height = map(int, frames[0][1:])
    return VideoFacts(path, width, height, tuple(map(float, times)), _fps(times, tick, declared))


def _fps(times: list[Fraction], tick: Fraction, declared: Fraction) -> float:
    """Frames per second; times are whole ticks, so each may be half of one off, and their differences one."""
    span = max(times) - min(times)
    steady = all(abs(time - times[0] - i / declared) <= tick for i, time in enumerate(times))
    return float(declared if steady or not span else (len(times) - 1) / span)


def frames_of(video: VideoFacts) -> Generator[np.ndarray, None, None]:
    """Yield each frame, [H, W, 3] uint8 RGB, and hold only one. Close it if you leave before the last one.

    Raises:
        OutputError: the file is not as it was when it was looked over.
    """
    form = f"{_EVERY_FRAME} -vf scale={ffmpeg.SCALE} -pix_fmt rgb24 -f rawvideo -"
    command: list[str | bytes] = [*_INPUT.split(), "-i", ffmpeg.url(video.path), *form.split()]
    shape = video.height, video.width, 3
    # Nothing is said that was not said when it was looked over.
    with ffmpeg.started(command, stderr=subprocess.DEVNULL) as process:
        pixels: BufferedReader = process.stdout  # type: ignore[assignment]
        for _ in video.times:
            frame = np.empty(shape, np.uint8)
            if pixels.readinto(frame.data) < frame.size:
                break
            yield frame
        else:
            if not pixels.read(1) and process.wait() == 0:
                return
        raise OutputError(
            f"expected {len(video.times)} frames in {video.path}; reading them found another number",
            "run it again, and leave the file alone meanwhile",
        )


def read_video(path: Path) -> tuple[np.ndarray, float]:
    """Read a video into memory: all frames [F, H, W, 3] uint8 RGB, and frames per second (see `VideoFacts`).

    Raises:
        OutputError: as `probe_video` and `frames_of`, or the frames come to over MOST_BYTES.
    """
    video = probe_video(path)
    shape = len(video.times), video.height, video.width, 3
    if math.prod(shape) > MOST_BYTES:
        raise OutputError(
            f"expected a video of at most {MOST_BYTES >> 30} GiB of frames; {path} has "
            f"{shape[0]} frames of {video.width}x{video.height}",
            "read it frame by frame: probe_video and frames_of of navicache_cli.media.video_in",
        )
    frames = np.empty(shape, np.uint8)
    with closing(frames_of(video)) as each:
        for i, frame in enumerate(each):
            frames[i] = frame
    return frames, video.fps


def _check_file(path: Path) -> None:
    try:
        open_regular(path).close()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise OutputError(
            f"expected a video; cannot read the video {path}: {reason}", "check the path"
        ) from None


def _unreadable(path: Path, said: str) -> OutputError:
    size = re.search(r"Picture size (\d+x\d+) (?:exceeds|is invalid)", said)
    if size and size[1] != "0x0":
        return OutputError(
            f"expected frames of at most {MOST_PIXELS // 10**6} million pixels; {path} has {size[1]}",
            f"ffmpeg -i {shlex.quote(str(path))} -vf scale=1280:-2 small.mp4, or make it smaller elsewhere",
        )
    if "fps_mode" in said:
        return OutputError(
            f"expected ffmpeg 5.1 or later to read {path}; found an older one",
            "pip install --upgrade imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE",
        )
    if "matches no streams" in said:
        reason = "it has no video stream"
    else:
        # The first complaint is the cause; times that go back are nothing to complain of.
        told = [line for line in ffmpeg.complaints(said) if "monotonic" not in line]
        reason = "it is not a video in a known format, or is damaged"
        reason += f" ({told[0]})" if told else ""
    return OutputError(
        f"expected a video; cannot read the video {path}: {reason}",
        "check the path, or save it as MP4 (MKV, WebM, AVI and GIF are read too)",
    )
