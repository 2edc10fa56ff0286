"""The ffmpeg program that comes with imageio-ffmpeg, run as a process of its own.

imageio's own readers and writers are not used: they offer no limits on size and containers, no times of
single frames, no bit-exact tags, and they hide whether ffmpeg ended well.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from navicache_cli.errors import OutputError
from navicache_cli.interruption import uninterrupted

# Correct rounding and full chroma when converting, and the same result on every processor.
SCALE = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
_NAMES = re.compile(r"\[[^\]\n]* @ 0x[0-9a-f]+\] *|\[(?:error|fatal|panic)\] *")


def url(path: Path) -> bytes:
    """A file name that ffmpeg can take for nothing else: not an option, a protocol or a pattern."""
    return b"file:" + os.fsencode(path.absolute())


@contextmanager
def started(
    args: list[str | bytes], loglevel: str = "error", stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ffmpeg with pipes to its input and output. When the block ends it is gone, if need be killed.

    Raises:
        OutputError: there is no such program.
    """
    # -xerror: older versions end well (status 0) when the last bytes of a file could not be written.
    options = ["-hide_banner", "-loglevel", loglevel, "-nostats", "-xerror", "-nostdin", "-y"]
    pipe = subprocess.PIPE
    try:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, *args]
    except (ImportError, RuntimeError, OSError) as error:
        raise _not_there(error) from error
    with ExitStack() as stack:
        # Not to be stopped between starting it and being able to end it.
        with uninterrupted():
            try:
                # A session of its own: Ctrl-C reaches us only, and we end ffmpeg, in that order.
                process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=stderr, start_new_session=True
                )
            except OSError as error:
                raise _not_there(error) from error
            stack.enter_context(process)
            kill = stack.enter_context(ExitStack())
            kill.callback(process.kill)
        yield process
        kill.pop_all()


def _not_there(error: Exception) -> OutputError:
    hint = "pip install imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE"
    return OutputError(f"expected an ffmpeg program; cannot run one: {error}", hint)


def run(
    args: list[str | bytes], feed: bytes | None = None, loglevel: str = "error"
) -> tuple[int, bytes, str]:
    """Run ffmpeg with `feed` as its input; exit status, output, and what it said."""
    with started(args, loglevel) as process:
        output, said = process.communicate(feed)  # a broken pipe shows in the exit status
    return process.returncode, output, said.decode(errors="replace")


def complaints(said: str) -> list[str]:
    """The lines of what ffmpeg said, without the names and addresses of the parts that said them."""
    return [line for line in _NAMES.sub("", said).splitlines() if line.strip()]
