"""Files written: hidden until they are complete, published together, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from navicache_cli import files
from navicache_cli.errors import OutputError
from navicache_cli.files import (
    TakenError,
    check_new,
    check_replaceable,
    part_of,
    publish,
    sweep,
    write_atomically,
    write_part,
    write_together,
)
from navicache_cli.locks import FolderLock
from tests.conftest import clean_environment


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def two(tmp_path: Path):
    """Two finished parts and where they go."""
    with part_of(tmp_path / "a.mp4") as video, part_of(tmp_path / "a.json") as report:
        write_part(video, b"new video")
        write_part(report, b"new report")
        yield [(video, tmp_path / "a.mp4"), (report, tmp_path / "a.json")]


def test_parts_are_published_together(two, tmp_path: Path) -> None:
    publish(two, overwrite=False)
    assert (tmp_path / "a.mp4").read_bytes() == b"new video"
    assert (tmp_path / "a.json").read_bytes() == b"new report"
    assert files.published[-2:] == [tmp_path / "a.mp4", tmp_path / "a.json"]


@pytest.mark.parametrize("taken", ["a.mp4", "a.json"])
def test_none_is_published_where_one_name_is_taken(two, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    before = len(files.published)
    with pytest.raises(TakenError, match=taken):
        publish(two, overwrite=False)
    assert [name for name in names(tmp_path) if not name.startswith(".")] == [taken]
    assert (tmp_path / taken).read_text() == "precious"
    assert len(files.published) == before


@pytest.mark.parametrize("links", [True, False])
def test_what_was_replaced_is_back_where_the_next_one_cannot_be(two, tmp_path, monkeypatch, links) -> None:
    (tmp_path / "a.mp4").write_text("precious")
    (tmp_path / "a.json").mkdir()  # Nothing can take the place of a folder.
    if not links:

        def no_link(*_: object, **__: object) -> None:
            raise OSError("this disk has no hard links")

        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(OSError, match=r"a\.json"):
        publish(two, overwrite=True)
    assert (tmp_path / "a.mp4").read_text() == "precious"


def test_parts_are_gone_after_publishing_and_after_failing(tmp_path: Path) -> None:
    with part_of(tmp_path / "a.mp4") as part:
        write_part(part, b"x")
        publish([(part, tmp_path / "a.mp4")], overwrite=False)
    with pytest.raises(ZeroDivisionError), part_of(tmp_path / "b.mp4") as part:
        write_part(part, bytes(1 // 0))
    assert names(tmp_path) == ["a.mp4"]


def test_a_sweep_takes_only_parts_without_an_owner(tmp_path: Path) -> None:
    program = (
        "import time\nfrom pathlib import Path\nfrom navicache_cli.files import part_of\n"
        "with part_of(Path('a.mp4')) as part: print(part, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=clean_environment(PYTHONPATH=os.getcwd()),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    name = other.stdout.readline().strip()
    users = [".a.mp4.part", ".a.mp4.navicache-12.part.mp4", "a.navicache-0123456789abcdef.part"]
    for one in users:
        (tmp_path / one).write_text("precious")
    (tmp_path / ".link.navicache-0123456789abcdef.part").symlink_to(users[0])
    kept = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == kept, "its owner lives"
    other.kill()
    other.wait()
    sweep(tmp_path)
    assert names(tmp_path) == sorted({*kept} - {name})


def test_a_long_name_has_a_part_too(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".mp4")
    write_atomically(path, "x")
    assert names(tmp_path) == [path.name]
    with pytest.raises(OutputError, match="File name too long"):
        write_atomically(tmp_path / ("x" * 300), "x")


def test_files_the_run_reads_are_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text("precious")
    (tmp_path / "link.json").symlink_to(path)
    for other in (path, tmp_path / "link.json"):
        with pytest.raises(OutputError, match="read by this run"):
            check_new(other, overwrite=True, inputs=[path])
    check_new(path, overwrite=True, inputs=[tmp_path / "elsewhere.json"])


def test_only_our_own_are_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    check_replaceable(path)
    path.write_text("<html>navicache")
    check_replaceable(path)
    path.write_text("<html>holidays")
    with pytest.raises(TakenError, match=r"index\.html"):
        check_replaceable(path)


def test_one_run_a_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path, "comparison") as lock:
        with pytest.raises(OutputError, match="another run works on this comparison"):
            FolderLock(tmp_path, "comparison")
        lock.check()
    assert names(tmp_path) == []
    with FolderLock(tmp_path, "comparison") as lock:
        (tmp_path / ".navicache.lock").unlink()
        with pytest.raises(OutputError, match="removed or replaced"):
            lock.check()


STOPPED = """
import os, signal, time
from pathlib import Path
from navicache_cli import files
from navicache_cli.interruption import Stopped, exit_code_of, stop_on_signals, uninterrupted
stop_on_signals()
ended = []
try:
    with uninterrupted():
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000): pass
        ended.append("finished")
    ended.append("not reached")
except KeyboardInterrupt as stop:
    print(ended, exit_code_of(stop))
"""


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131)]
)
def test_signals_wait_for_what_must_happen_together(name: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(name=name)], capture_output=True, text=True, check=False,
        env=clean_environment(PYTHONPATH=os.getcwd()),
    )  # fmt: skip
    assert done.stdout.strip() == f"['finished'] {code}", done.stderr


def test_an_ignored_signal_stays_ignored() -> None:
    program = (
        "import os, signal, time\nfrom navicache_cli.interruption import stop_on_signals\nstop_on_signals()\n"
        "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.05); print('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env=clean_environment(PYTHONPATH=os.getcwd()),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert done.stdout.strip() == "alive"


PROMPT = ("generate", "--prompt", "a red circle moving right", "--steps", "12", "-q")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL"])
def test_a_run_stopped_while_it_encodes_leaves_nothing(tmp_path: Path, name: str) -> None:
    """An encoder that never ends stands in for a long video; the next run takes what SIGKILL leaves."""
    encoder = tmp_path / "bin" / "ffmpeg"
    encoder.parent.mkdir()
    encoder.write_text("#!/bin/sh\ncat >/dev/null\nexec sleep 60\n")
    encoder.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "navicache_cli", *PROMPT, "-o", "v.mp4"]
    process = subprocess.Popen(
        command, cwd=out, env=clean_environment(IMAGEIO_FFMPEG_EXE=str(encoder), PYTHONPATH=os.getcwd()),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(out.glob(".v.mp4.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    if name == "SIGKILL":
        assert names(out), "this test would show nothing"
        done = subprocess.run(command, cwd=out, env=clean_environment(PYTHONPATH=os.getcwd()), check=False)
        assert done.returncode == 0
        assert names(out) == ["v.json", "v.mp4"]
        return
    assert process.returncode == 128 + getattr(signal, name)
    assert names(out) == []
    assert "nothing was written" in errors
    assert "try:" in errors


def test_files_that_belong_together_are_written_all_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.csv"
    write_together({first: "1", second: b"2"})
    second.unlink()
    second.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*b\.csv"):
        write_together({first: "3", second: "4"})
    assert first.read_text() == "1"
    assert names(tmp_path) == ["a.json", "b.csv"]
