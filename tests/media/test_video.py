from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from navicache_cli.errors import OutputError
from navicache_cli.files import check_new
from navicache_cli.media import video
from navicache_cli.media.video import MAX_TAG_CHARS, read_video, to_uint8, write_video
from tests.tags import read_tags

ROOT = Path(__file__).parents[2]


def moving_square(count: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    frames = np.full((count, height, width, 3), 90, np.uint8)
    frames[..., 0] = 40 + rows * 2
    frames[..., 1] = 60 + columns
    for i in range(count):
        frames[i, 10:26, 4 + 2 * i : 20 + 2 * i] = (220, 180, 40)
    return frames


def noise(count: int = 24) -> np.ndarray:
    """Frames that compress badly, so that the file is large."""
    return np.random.default_rng(0).integers(0, 255, (count, 64, 96, 3), dtype=np.uint8)


def described(path: Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True).stderr


@pytest.mark.parametrize("fps", [16, 24.0, 23.976, 24000 / 1001, 8.5])
def test_round_trip(tmp_path: Path, fps: float) -> None:
    frames = moving_square()
    info = write_video(frames, tmp_path / "new" / "folder" / "out.mp4", fps, {})
    back, rate = read_video(info.path)
    assert back.shape == frames.shape
    assert back.dtype == np.uint8
    assert rate == pytest.approx(fps, rel=1e-9)
    assert info.fps == rate
    difference = back.astype(float) - frames
    assert np.abs(difference).mean() < 2.5
    assert np.abs(difference.mean((0, 1, 2))).max() < 0.7, "a colour cast: the matrix or the range is wrong"
    assert (info.frames, info.height, info.width) == frames.shape[:3]
    assert info.bytes == info.path.stat().st_size


def test_format(tmp_path: Path) -> None:
    path = write_video(moving_square(), tmp_path / "out.mp4", 16, {"title": "t"}).path
    text = described(path)
    assert re.search(r"Video: h264 .*yuv420p\(tv, bt709", text)
    assert "64x48" in text
    assert "16 fps" in text
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_one_frame_and_any_memory_layout(tmp_path: Path) -> None:
    frames = moving_square(1)
    assert read_video(write_video(frames, tmp_path / "one.mp4", 16, {}).path)[0].shape == frames.shape
    planar = np.ascontiguousarray(moving_square().transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    a = write_video(planar, tmp_path / "a.mp4", 16, {})
    b = write_video(moving_square(), tmp_path / "b.mp4", 16, {})
    assert a.sha256 == b.sha256


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    infos = [write_video(noise(5), tmp_path / f"{i}.mp4", 16, {"title": "t", "seed": "1"}) for i in range(2)]
    assert infos[0].sha256 == infos[1].sha256
    assert infos[0].path.read_bytes() == infos[1].path.read_bytes()
    other = write_video(noise(5), tmp_path / "2.mp4", 16, {"title": "t", "seed": "2"})
    assert other.sha256 != infos[0].sha256


NASTY = {
    "title": "-y /etc/passwd",
    "comment": "a=b;c#d\\e 'f' \"g\" $(h) `i` %03d \\",
    "navicache.cache": '{"method": "navicache", "threshold": 0.05}',
    "emoji": "猫が走る 🐈‍⬛ — ça va",
    "section": "[STREAM]",
}


def test_metadata_round_trip(tmp_path: Path) -> None:
    path = write_video(moving_square(2), tmp_path / "out.mp4", 16, NASTY).path
    assert read_tags(path) == NASTY
    assert read_tags(write_video(moving_square(2), tmp_path / "no.mp4", 16, {"title": ""}).path) == {}


def test_metadata_is_cleaned(tmp_path: Path) -> None:
    tags = {"two words=x": "line\nline\r\nNUL\0 tab\t\x1b[31m \ud800", "long": "x" * 5000}
    back = read_tags(write_video(moving_square(2), tmp_path / "out.mp4", 16, tags).path)
    assert back["two_words_x"] == "line line  NUL  tab  [31m  "
    assert back["long"] == "x" * (MAX_TAG_CHARS - 1) + "…"


@settings(max_examples=12, deadline=None)
@given(prompt=st.text(min_size=1, max_size=200))
def test_any_prompt_is_accepted(tmp_path_factory: pytest.TempPathFactory, prompt: str) -> None:
    path = tmp_path_factory.mktemp("prompt") / "out.mp4"
    tags = read_tags(write_video(moving_square(1), path, 16, {"title": prompt, "seed": "3"}).path)
    assert tags["seed"] == "3"
    assert len(tags["title"]) == len(prompt)
    assert all(a in (b, " ") for a, b in zip(tags["title"], prompt, strict=True))


def test_metadata_does_not_depend_on_the_locale(tmp_path: Path) -> None:
    script = "write_video(np.zeros((1, 16, 16, 3), np.uint8), Path('out.mp4'), 16, {'title': '\\u732b'})"
    run_script(script, tmp_path, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert read_tags(tmp_path / "out.mp4") == {"title": "猫"}


@pytest.mark.parametrize(
    "name", ["-y.mp4", "a:b.mp4", "%03d.mp4", "猫 [1].mp4", "x" * 251 + ".mp4", "UP.MP4"]
)
def test_odd_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    info = write_video(moving_square(2), Path(name), 16, {})
    assert os.listdir(tmp_path) == [name]
    assert len(read_video(info.path)[0]) == 2


def test_existing_file_needs_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already") as caught:
        check_new(path, overwrite=False)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(OutputError, match="exists already"):
        write_video(moving_square(2), path, 16, {})
    assert path.read_bytes() == b"precious"
    check_new(path, overwrite=True)
    assert path.read_bytes() == b"precious"
    write_video(moving_square(2), path, 16, {}, overwrite=True)
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert len(read_video(path)[0]) == 2


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path = tmp_path / "out.mp4"
    monkeypatch.setattr(video, "sync", lambda part: path.write_bytes(b"precious"))
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputError, match="exists already"):
        write_video(moving_square(2), path, 16, {})
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.mp4"]


def no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    write_video(moving_square(2), tmp_path / "out.mp4", 16, {})
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for path, message in [
        (tmp_path / "file" / "out.mp4", "cannot write"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / ("x" * 300 + ".mp4"), "File name too long"),
        (tmp_path / "a\0b.mp4", "null"),
        (Path("/proc/navicache/out.mp4"), "cannot write"),
    ]:
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=message):
                check_new(path, overwrite)
    with pytest.raises(OutputError, match=r"ends in \.mp4"):
        write_video(moving_square(2), tmp_path / "out.webm", 16, {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="run it as another user")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_new(tmp_path / "out.mp4", overwrite=False)
    tmp_path.chmod(0o700)


def test_bad_frames(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    good = moving_square(2)
    for frames, fps, message in [
        (good[:, :-1], 16, r"even width and height.*found 64x47"),
        (good[:, :, :-1], 16, r"found 63x48"),
        (good.astype(np.float32), 16, "uint8.*float32"),
        (good[..., 0], 16, r"found uint8 \[2, 48, 64\]"),
        (good[:0], 16, r"\[0, 48, 64, 3\]"),
        (good, 0, "positive number of frames"),
        (good, float("nan"), "positive number of frames"),
    ]:
        with pytest.raises(OutputError, match=message):
            write_video(frames, path, fps, {})
    assert os.listdir(tmp_path) == []


SCRIPT_HEAD = """
import sys
from pathlib import Path
import numpy as np
from navicache_cli.errors import OutputError
from navicache_cli.files import check_new
from navicache_cli.media.video import write_video
"""


def run_script(
    body: str, folder: Path, launcher: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `body` in a Python of its own in `folder`."""
    return subprocess.run(
        [*launcher, sys.executable, "-c", SCRIPT_HEAD + body],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


WRITE_TOO_MUCH = """
frames = np.random.default_rng(0).integers(0, 255, (24, 64, 96, 3), dtype=np.uint8)
for path in Path("new.mp4"), Path("old.mp4"):
    try:
        write_video(frames, path, 16, {"title": "t"}, overwrite=True)
    except OutputError as error:
        print(error.message, "|", error.hint)
print(sorted(p.name for p in Path().iterdir()), Path("old.mp4").read_bytes())
"""


def assert_disk_full_is_told(result: subprocess.CompletedProcess[str]) -> None:
    lines = result.stdout.splitlines()
    assert len(lines) == 3, result
    for line, name in zip(lines, ("new.mp4", "old.mp4"), strict=False):
        assert line.startswith(f"cannot write {name}: the disk is full")
        assert "free some space" in line
    assert lines[2] == "['old.mp4'] b'precious'"


@pytest.mark.skipif(sys.platform == "win32", reason="no ulimit")
@pytest.mark.parametrize("kib", [2, 16, 60, 102])
def test_file_size_limit(tmp_path: Path, kib: int) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({kib} * 1024,) * 2)"
    assert_disk_full_is_told(run_script(limit + WRITE_TOO_MUCH, tmp_path))


@pytest.mark.parametrize("kib", [12, 64, 108])
def test_full_disk(tmp_path: Path, kib: int) -> None:
    """A real one: a small memory disk, mounted where only this subprocess sees it."""
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*private, *mount], capture_output=True).returncode:
        pytest.skip("needs Linux where unshare --user may mount a small disk")
    inside = f'{shlex.join(mount)} && cd "$PWD" && printf precious >old.mp4 && exec "$@"'
    assert_disk_full_is_told(run_script(WRITE_TOO_MUCH, tmp_path, [*private, "sh", "-c", inside, "sh"]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_stopped_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    started = []

    def stopped(process: subprocess.Popen[bytes], feed: bytes) -> None:
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(feed[: len(feed) // 2])
        process.stdin.flush()
        assert len(list(tmp_path.glob(".out.mp4.*.part.mp4"))) <= 1
        raise error

    monkeypatch.setattr(subprocess.Popen, "communicate", stopped)
    with pytest.raises(error):
        write_video(noise(), path, 16, {}, overwrite=True)
    assert started[0].poll() is not None, "ffmpeg must be gone"
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_ctrl_c(tmp_path: Path) -> None:
    long = "np.random.default_rng(0).integers(0, 255, (500, 192, 256, 3), dtype=np.uint8)"  # many seconds
    script = SCRIPT_HEAD + f"write_video({long}, Path('out.mp4'), 16, {{}})"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".*.part.mp4")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in complaint
    assert os.listdir(tmp_path) == []


def test_ffmpeg_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", shutil.which("false") or "false")
    with pytest.raises(OutputError, match="ffmpeg ended with 1: no reason given"):
        write_video(moving_square(2), tmp_path / "out.mp4", 16, {})
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match=r"cannot run one.*nowhere"):
        write_video(moving_square(2), tmp_path / "out.mp4", 16, {})
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OutputError, match="expected an ffmpeg program") as caught:
        write_video(moving_square(2), tmp_path / "out.mp4", 16, {})
    assert "pip install imageio-ffmpeg" in caught.value.hint
    with pytest.raises(OutputError, match="expected an ffmpeg program"):
        read_video(Path(__file__))
    assert os.listdir(tmp_path) == []


def test_reading_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 50)
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/real.mp4\n")
    real = write_video(moving_square(), tmp_path / "real.mp4", 16, {}).path
    (tmp_path / "cut.mp4").write_bytes(real.read_bytes()[:500])
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("notes.txt", "list.mp4", "cut.mp4", "empty.mp4", "nowhere.mp4", ""):
        with pytest.raises(OutputError, match="expected a video"):
            read_video(tmp_path / name)


def test_to_uint8() -> None:
    levels = torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0])
    pixels = to_uint8(levels.expand(3, 2, 4, 5))
    assert (pixels.shape, pixels.dtype) == ((2, 4, 5, 3), np.uint8)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert pixels.flags.c_contiguous
    steps = torch.arange(256) / 127.5 - 1
    assert to_uint8(steps.expand(3, 1, 1, 256))[0, 0, :, 1].tolist() == list(range(256))
    video = torch.rand(3, 2, 4, 4).bfloat16()
    before = video.clone()
    assert np.array_equal(to_uint8(video), to_uint8(video.float()))
    assert torch.equal(video, before)
    with pytest.raises(OutputError, match=r"\[3, frames, height, width\]; found \[1, 3, 2, 4, 4\]"):
        to_uint8(video[None])
    video[0, 0, 0, 0] = torch.nan
    with pytest.raises(OutputError, match="1 of 96 are NaN"):
        to_uint8(video)


def test_import_is_cheap() -> None:
    names = "('torch', 'imageio_ffmpeg')"
    probe = f"import sys, navicache_cli.media.video; print([m for m in {names} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], cwd=ROOT, text=True).strip() == "[]"
