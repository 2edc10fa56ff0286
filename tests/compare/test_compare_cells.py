"""Cells on disk: what is damaged runs again and nothing else; one run works in a folder; nothing is lost."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from navicache_cli.compare.jobs import Job, list_jobs
from navicache_cli.compare.running import Work
from navicache_cli.compare.store import Store
from navicache_cli.errors import OutputError
from tests.compare.test_compare_parts import IDENTITY, Noise, other
from tests.comparison import arguments
from tests.program import assert_refused

RUNNERS = {"navicache": Noise(), "other": Noise()}
JOBS = list_jobs([], [other(20)], ["a red circle"], [0, 1], dict.fromkeys(RUNNERS, IDENTITY), "c")
BASELINE, CELL = JOBS[:2]


def run(folder: Path) -> list[bool]:
    """Run all jobs; for each whether it was run, not kept."""
    ran: list[bool] = []
    with Store(folder) as store:
        Work(RUNNERS, store, "a sitting").run(JOBS, lambda job, cell, now: ran.append(now))
    return ran


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Four cells, two of them baselines. Read only."""
    folder = tmp_path_factory.mktemp("cells")
    assert run(folder) == [True] * 4
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "out")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def swap(path: Path) -> None:
    """Put the file of another cell in its place."""
    index = [job.key for job in JOBS].index(path.name.partition(".")[0])
    path.write_bytes(path.with_name(path.name.replace(JOBS[index].key, JOBS[index - 2].key)).read_bytes())


def into_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    edit.__name__ = f"{old} to {new[:9]}"
    return edit


def set_to(value: object) -> Callable[[Path], None]:
    """Put a value in the place of every fact of a record in turn, all of them, and the whole of it."""

    def edit(path: Path) -> None:
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(dict.fromkeys(facts, value)))

    edit.__name__ = f"all {json.dumps(value)}"
    return edit


def bomb(path: Path) -> None:
    """Frames of another shape, that would take 4 GB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (4096, 1024, 1024, 1)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", header.getvalue() + bytes(1 << 22))


def other_shape(path: Path) -> None:
    np.savez_compressed(path, frames=np.zeros((3, 8, 8, 3), np.uint8))


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


ANY_FILE = [cut, Path.unlink, into_a_pipe, deep, lambda path: path.write_bytes(b"")]
DAMAGES = [
    *((suffix, damage) for suffix in (".mp4", ".json", ".cell.json", ".npz") for damage in ANY_FILE),
    *((suffix, swap) for suffix in (".mp4", ".json", ".cell.json")),  # frames of these baselines are the same
    (".npz", bomb), (".npz", other_shape),
    *((suffix, set_to(value)) for suffix in (".json", ".cell.json")
      for value in (None, "text", [], {}, True, 10**400, float("nan"))),
    (".cell.json", edited('"psnr": [', '"psnr": [NaN, ')),
    (".cell.json", edited('"psnr": [', '"psnr": [3, ')),
    (".cell.json", edited("a sitting", "another")), (".json", edited('"denoise"', '"noise"')),
    (".json", edited('"denoise": 0', '"denoise": 1')),
]  # fmt: skip


def _name(value: object) -> str:
    return value if isinstance(value, str) else value.__name__


@pytest.mark.parametrize(("suffix", "damage"), DAMAGES, ids=_name)
def test_a_damaged_cell_runs_again_and_no_other(folder, suffix, damage):
    job: Job = BASELINE if suffix == ".npz" else CELL
    path = folder / "cells" / f"{job.key}{suffix}"
    damage(path)
    assert run(folder) == [one is job for one in JOBS]
    assert path.is_file()
    assert run(folder) == [False] * 4


def test_a_second_run_in_the_folder_is_refused(folder):
    with Store(folder), pytest.raises(OutputError, match="another run works on this comparison"):
        Store(folder)
    assert run(folder) == [False] * 4


@pytest.mark.parametrize("replaced", [False, True])
def test_the_folder_removed_meanwhile_is_noticed_at_the_next_cell(tmp_path, replaced):
    folder = tmp_path / "out"

    def remove(*_: object) -> None:
        shutil.rmtree(folder)
        if replaced:
            (folder / "cells").mkdir(parents=True)

    with Store(folder) as store, pytest.raises(OutputError, match="removed or replaced while"):
        Work(RUNNERS, store, "a sitting").run(JOBS, remove)
    assert not [*folder.rglob("*.*")]


def test_what_a_killed_run_left_is_removed(folder):
    parts = [folder / f"{place}.x.navicache-0123456789abcdef.part.mp4" for place in ("", "cells/")]
    for part in parts:
        part.write_bytes(b"half")
    run(folder)
    assert not any(part.exists() for part in parts)


def test_cut_videos_run_again_in_the_program(comparison, cli, copied, prompt_file):
    folder = copied(comparison.folder)
    hurt = [cell for cell in comparison.document["cells"] if cell["setting"] == "easycache fast"]
    for cell in hurt:
        cut(folder / cell["video"])
    for path in folder.glob("cells/*.npz"):
        bomb(path)
    done = cli(*arguments(folder, prompt_file), timeout=300)
    assert done.returncode == 0, done.stderr
    assert "16 cells: 4 run, 12 kept" in done.stderr


@pytest.mark.parametrize("name", ["compare.json", "compare.csv", "index.html"])
def test_a_file_of_the_user_is_not_replaced(cli, tmp_path, prompt_file, name):
    mine = tmp_path / "out" / name
    mine.parent.mkdir()
    mine.write_text("mine\n")
    assert_refused(
        cli(*arguments(mine.parent, prompt_file)), 6, f"{name} exists already", f"rename or remove {name}"
    )
    assert [path.name for path in mine.parent.iterdir()] == [name], "nothing was started"
    assert mine.read_text() == "mine\n"


def test_too_many_seeds_are_refused_at_once(cli, tmp_path):
    done = cli("compare", "--seeds", "99999999", timeout=30)
    assert_refused(done, 2, "seeds expects 1 to 1000, found 99999999")
