"""Reading videos: every frame once and in order whatever the rate, in little memory, and what is refused."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from contextlib import closing
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from navicache_cli.errors import OutputError
from navicache_cli.media.pairs import compare_files
from navicache_cli.media.video import read_video, write_video
from navicache_cli.media.video_in import MOST_PIXELS, frames_of, probe_video

SIZE = "64x48"


def ffmpeg(folder: Path, *arguments: str) -> None:
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]
    subprocess.run([*program, *arguments], cwd=folder, check=True)


def numbered(first: int, count: int, rate: str, *, then: str = "") -> list[str]:
    """Arguments for frames from `first` on, of which number n has a grey of 6 n; `then` has more filters."""
    grey = f"geq=lum='6*(N+{first})':cb=128:cr=128,format=yuv444p{then}"
    source = f"color=size={SIZE}:rate={rate}"
    return ["-f", "lavfi", "-i", source, "-vf", grey, "-frames:v", str(count)]


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers of frames made by `numbered`."""
    # In video range 16 is black and 235 is white.
    grey = frames[:, 8:-8, 8:-8].mean((1, 2, 3)) * 219 / 255 + 16
    return [round(float(value) / 6) for value in grey]


LOSSLESS = ("-c:v", "libx264", "-qp", "0")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    ffmpeg(folder, *numbered(3, 8, "8"), *LOSSLESS, "slow.mp4")
    ffmpeg(folder, *numbered(11, 26, "24"), *LOSSLESS, "quick.mp4")
    (folder / "list.txt").write_text("file slow.mp4\nfile quick.mp4\n")
    ffmpeg(folder, "-f", "concat", "-i", "list.txt", "-c", "copy", "joined.mp4")
    ffmpeg(folder, *numbered(3, 12, "10"), "-final_delay", "300", "last.gif")
    # Frame n at n² / 24 seconds.
    varied = [*numbered(3, 12, "24", then=",setpts=N*N/24/TB"), "-fps_mode", "vfr", *LOSSLESS]
    ffmpeg(folder, *varied, "vary.mp4")
    ffmpeg(folder, *varied, "vary.mkv")
    for rate in ("24", "24000/1001"):
        ffmpeg(folder, *numbered(3, 17, rate), *LOSSLESS, f"{rate[:4]}.mkv".replace("/", ""))
    ffmpeg(folder, *numbered(3, 9, "8"), "-c:v", "mpeg4", "-bf", "2", "-q:v", "1", "turned.avi")
    return folder


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("joined.mp4", 34),
        ("last.gif", 12),
        ("vary.mp4", 12),
        ("vary.mkv", 12),
        ("24.mkv", 17),
        ("turned.avi", 9),
    ],
)
def test_every_frame_once_and_in_order(clips: Path, name: str, count: int) -> None:
    frames, _ = read_video(clips / name)
    assert numbers(frames) == list(range(3, 3 + count))
    with closing(frames_of(probe_video(clips / name))) as each:
        assert np.array_equal(np.stack(list(each)), frames)


def test_frames_have_their_own_times(clips: Path) -> None:
    squares = [n * n / 24 for n in range(12)]
    assert probe_video(clips / "vary.mp4").times == pytest.approx(squares)
    assert probe_video(clips / "vary.mkv").times == pytest.approx(squares, abs=1e-3)
    assert probe_video(clips / "last.gif").times == pytest.approx([n / 10 for n in range(12)])
    assert probe_video(clips / "slow.mp4").times == pytest.approx([n / 8 for n in range(8)])


def test_the_rate_is_declared_or_a_mean(clips: Path, tmp_path: Path) -> None:
    def fps(name: str) -> float:
        assert read_video(clips / name)[1] == probe_video(clips / name).fps
        return probe_video(clips / name).fps

    assert fps("slow.mp4") == 8
    # Matroska rounds times to milliseconds, which says nothing against the rate.
    assert fps("24.mkv") == 24
    assert fps("2400.mkv") == 24000 / 1001
    assert fps("last.gif") == 10
    assert fps("vary.mp4") == pytest.approx(11 / (121 / 24))
    assert 8 < fps("joined.mp4") < 34
    ffmpeg(tmp_path, "-i", str(clips / "slow.mp4"), "-frames:v", "1", "one.mp4")
    assert probe_video(tmp_path / "one.mp4").fps == 8
    assert probe_video(clips / "slow.mp4", first_frame_only=True).times == (0,)


def test_metrics_compare_frame_by_frame(clips: Path) -> None:
    psnr = compare_files(clips / "joined.mp4", clips / "joined.mp4")["psnr"]
    assert psnr is not None
    assert psnr.per_frame == [100.0] * 34
    # The same frames at other times.
    ffmpeg(clips, *numbered(3, 34, "12"), *LOSSLESS, "even.mp4")
    found = compare_files(clips / "joined.mp4", clips / "even.mp4")["psnr"]
    assert found is not None
    assert found.per_frame == [100.0] * 34


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    for size in ("96x64", SIZE):
        source = ["-f", "lavfi", "-i", f"color=orange:size={size}:rate=8", "-frames:v", "3"]
        ffmpeg(tmp_path, *source, "-c:v", "mjpeg", f"{size}.mkv")
    (tmp_path / "list.txt").write_text(f"file 96x64.mkv\nfile {SIZE}.mkv\n")
    ffmpeg(tmp_path, "-f", "concat", "-i", "list.txt", "-c", "copy", "both.mkv")
    frames, _ = read_video(tmp_path / "both.mkv")
    assert frames.shape == (6, 64, 96, 3)
    assert np.abs(frames.astype(int) - frames[0, 0, 0]).max() < 12


def peak_of(work) -> int:
    """Most bytes that Python and numpy held meanwhile, beyond those held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_video_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    ffmpeg(tmp_path, "-f", "lavfi", "-i", "color=orange:size=640x480", "-frames:v", "60", "long.mp4")

    def read() -> None:
        with closing(frames_of(probe_video(tmp_path / "long.mp4"))) as frames:
            assert sum(1 for _ in frames) == 60

    assert peak_of(read) < 4 * 640 * 480 * 3


def test_ffmpeg_ends_with_its_reader(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    video = probe_video(clips / "slow.mp4")
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with closing(frames_of(video)) as frames:
        next(frames)
        assert started[0].poll() is None
    assert started[0].poll() is not None


def test_a_file_that_changes_meanwhile(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    for before, after in (("slow.mp4", "joined.mp4"), ("joined.mp4", "slow.mp4"), ("slow.mp4", "list.txt")):
        path.write_bytes((clips / before).read_bytes())
        video = probe_video(path)
        path.write_bytes((clips / after).read_bytes())
        with pytest.raises(OutputError, match=r"expected \d+ frames in .*v.mp4"):
            list(frames_of(video))


def refusal(path: Path) -> OutputError:
    """The one refusal of a file by all that read it."""
    with pytest.raises(OutputError) as caught:
        probe_video(path)
    with pytest.raises(OutputError) as other:
        read_video(path)
    assert other.value.hint
    return caught.value


def test_what_is_no_video_is_told_plainly(clips: Path, tmp_path: Path) -> None:
    ffmpeg(tmp_path, "-f", "lavfi", "-i", "anullsrc", "-t", "1", "sound.mp4")
    (tmp_path / "notes.mp4").write_text("hello\n" * 50)
    (tmp_path / "cut.mp4").write_bytes((clips / "slow.mp4").read_bytes()[:700])
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "endless.mp4").symlink_to("/dev/zero")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    for name, reason in {
        "sound.mp4": "no video stream",
        "notes.mp4": "not a video in a known format",
        "cut.mp4": "not a video in a known format",
        "noise.mp4": "not a video in a known format",
        "pipe.mp4": "a named pipe",
        "endless.mp4": "a device",
        "gone.mp4": "no such file",
        "x" * 300: "File name too long",
        "": "a folder",
        "a\0b": "null",
    }.items():
        if name == "sound.mp4":  # whose tags can be read
            with pytest.raises(OutputError) as caught:
                probe_video(tmp_path / name)
            error = caught.value
        else:
            error = refusal(tmp_path / name)
        assert error.message.startswith("expected a video")
        assert reason in error.message
        assert "@ 0x" not in error.message
        assert "\n" not in error.message
        assert error.hint


def test_frames_beyond_the_bound_are_refused_unseen(clips: Path, tmp_path: Path) -> None:
    gif = bytearray((clips / "last.gif").read_bytes())
    assert MOST_PIXELS == 8192 * 4096
    for width, height in ((8192, 4104), (65535, 65535)):
        gif[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        (tmp_path / "large.gif").write_bytes(gif)
        with pytest.raises(
            OutputError, match=rf"at most 33 million pixels; .*large.gif has {width}x{height}"
        ):
            probe_video(tmp_path / "large.gif")


def test_a_whole_video_is_read_up_to_a_bound(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navicache_cli.media.video_in.MOST_BYTES", 12 * 48 * 64 * 3 - 1)
    with pytest.raises(OutputError, match="12 frames of 64x48") as caught:
        read_video(clips / "last.gif")
    assert "frames_of" in caught.value.hint
    assert len(read_video(clips / "slow.mp4")[0]) == 8


def test_an_ffmpeg_that_is_too_old(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho \"[error] Unrecognized option 'fps_mode'.\" >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(OutputError, match=r"expected ffmpeg 5\.1 or later") as caught:
        probe_video(clips / "slow.mp4")
    assert "imageio-ffmpeg" in caught.value.hint


def test_reading_what_was_written(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8)
    info = write_video(frames, tmp_path / "v.mp4", 23.976, {})
    found = probe_video(info.path)
    assert (len(found.times), found.height, found.width, found.fps) == (3, 32, 48, info.fps)
