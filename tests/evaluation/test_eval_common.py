"""`navicache eval common`: the figures of `metrics`, kept, and measured again where files change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from navicache_cli.app import app
from navicache_cli.errors import NavicacheError, OutputError, UsageError
from navicache_cli.evaluation import common, store
from navicache_cli.evaluation.documents import CommonMetrics
from navicache_cli.evaluation.store import PairLog, pair_key
from navicache_cli.files import TakenError
from navicache_cli.locks import FolderLock
from navicache_cli.media.fidelity import Series
from navicache_cli.media.metrics import METRICS
from navicache_cli.media.pairs import compare_files
from navicache_cli.media.video import write_video
from navicache_cli.report.documents import as_document
from tests.commands.test_metrics_command import pattern


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders a and b: same.mp4 is the same in both, the others differ. Read only."""
    root = tmp_path_factory.mktemp("folders")
    for folder, seeds in {"a": (1, 2, 3), "b": (1, 4, 5)}.items():
        (root / folder).mkdir()
        for name, seed in zip(("same", "near", "far, 100% #1 </script>"), seeds, strict=True):
            write_video(pattern(seed), root / folder / f"{name.replace('/', '_')}.mp4", 8, {})
    return root


@pytest.fixture
def run(folders, tmp_path, monkeypatch):
    """Run a command in a copy of the folders; returns its output and what it said beside it."""
    for name in "ab":
        shutil.copytree(folders / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[str, str]:
        done = CliRunner().invoke(app, list(arguments))
        if isinstance(done.exception, NavicacheError):
            raise done.exception
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout, done.stderr

    return run


COMMON = ("eval", "common", "a", "b", "--no-lpips", "--output-dir", "out")


def document(folder: Path) -> dict:
    found = json.loads((folder / "common_metrics.json").read_text())
    as_document(found, CommonMetrics)
    return found


def test_the_figures_are_those_of_metrics(run, tmp_path):
    shown, said = run(*COMMON)
    found = document(tmp_path / "out")
    metrics = json.loads(run("metrics", "a", "b", "--no-lpips", "--json")[0])
    assert {
        key: value for key, value in found.items() if key not in ("source", "version", "worst")
    } == metrics
    means = {name: entry["psnr"]["mean"] for name, entry in found["files"].items()}
    worst = min(means, key=means.get)
    assert found["worst"]["psnr"] == {"name": worst, "mean": means[worst]}
    assert found["worst"]["lpips"] is None
    assert means["same.mp4"] == 100
    assert f"{found['psnr']['mean']:.2f}" in shown
    assert "3 pairs: 3 measured, 0 kept" in said
    assert (tmp_path / "out/index.html").is_file()


def test_again_measures_what_changed(run, tmp_path):
    run(*COMMON)
    first = document(tmp_path / "out")
    shown, said = run(*COMMON, "--json", "--no-page")
    assert "3 pairs: 0 measured, 3 kept" in said
    assert json.loads(shown) == first
    shutil.copy(tmp_path / "a/near.mp4", tmp_path / "b/near.mp4")
    assert "3 pairs: 1 measured, 2 kept" in run(*COMMON)[1]
    changed = document(tmp_path / "out")
    assert changed["files"]["near.mp4"]["psnr"]["mean"] == 100
    assert changed["files"]["same.mp4"] == first["files"]["same.mp4"]


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_killed_run_goes_on_where_it_was(run, tmp_path, keep):
    """Of the log there are `keep` whole lines and half of the next one."""
    run(*COMMON)
    first = document(tmp_path / "out")
    log = tmp_path / "out/pairs.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:keep]) + lines[keep][: len(lines[keep]) // 2])
    (tmp_path / "out/common_metrics.json").unlink()
    assert f"3 pairs: {3 - keep} measured, {keep} kept" in run(*COMMON)[1]
    assert document(tmp_path / "out") == first
    assert "3 pairs: 0 measured, 3 kept" in run(*COMMON)[1], "what was cut off is in nobody's way"


def test_a_pair_without_lpips_is_measured_again_where_it_is_asked_for(tmp_path):
    path = tmp_path / "pairs.jsonl"
    key = pair_key(["a", "b"])
    plain = FIDELITY
    PairLog(path).add("x.mp4", key, plain)
    assert PairLog(path).find(key, []) == plain
    assert PairLog(path).find(key, ["lpips"]) is None
    full = {**plain, "lpips": Series(0.1, [0.1])}
    PairLog(path).add("x.mp4", key, full)
    assert PairLog(path).find(key, ["lpips"]) == full
    assert PairLog(path).find(key, []) == plain, "left out where it was not asked for"
    assert PairLog(path).find(pair_key(["b", "a"]), []) is None


FIDELITY = {key: Series(30.0, [30.0]) if metric.measure else None for key, metric in METRICS.items()}


def test_a_pair_from_before_a_metric_was_added_is_measured_again(tmp_path):
    path = tmp_path / "pairs.jsonl"
    PairLog(path).add("x.mp4", "key", {"psnr": FIDELITY["psnr"], "lpips": None})
    assert PairLog(path).find("key", []) is None
    PairLog(path).add("x.mp4", "key", FIDELITY)
    assert PairLog(path).find("key", []) == FIDELITY


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("30.0", "31.0"),
        ("30.0", "NaN"),
        ("30.0", '"high"'),
        ("[30.0]", "[]"),
        ("30.0", "[" * 9999),
        ("x.", "\xff"),
    ],
)
def test_an_edited_line_counts_for_nothing(tmp_path, old, new):
    path = tmp_path / "pairs.jsonl"
    for name in ("x.mp4", "y.mp4"):
        PairLog(path).add(name, f"key of {name}", FIDELITY)
    first, second = path.read_text().splitlines()
    path.write_text(f"{first.replace(old, new)}\n[]\nnull\n{second}", "latin-1")
    assert PairLog(path).find("key of x.mp4", []) is None
    assert PairLog(path).find("key of y.mp4", []) == FIDELITY
    PairLog(path).add("x.mp4", "key of x.mp4", FIDELITY)
    assert PairLog(path).find("key of x.mp4", []) == FIDELITY


@pytest.mark.parametrize("name", ["pairs.jsonl", "common_metrics.json", "index.html"])
def test_a_file_of_the_user_is_not_replaced(run, tmp_path, name):
    mine = tmp_path / "out" / name
    mine.parent.mkdir()
    mine.write_text('{"mine": 1}')
    with pytest.raises(TakenError, match="exists already") as caught:
        run(*COMMON)
    assert f"rename or remove {name}" in caught.value.hint
    assert [(path.name, path.read_text()) for path in mine.parent.iterdir()] == [(name, '{"mine": 1}')]


def test_a_second_run_in_the_folder_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    lock = FolderLock(tmp_path / "out", "evaluation")
    with lock, pytest.raises(OutputError, match="another run works on this evaluation"):
        run(*COMMON)
    run(*COMMON)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_the_folder_removed_meanwhile_is_noticed(run, tmp_path, monkeypatch):
    def remove_and_compare(*arguments):
        shutil.rmtree(tmp_path / "out")
        return compare_files(*arguments)

    monkeypatch.setattr(common, "compare_files", remove_and_compare)
    with pytest.raises(OutputError, match="removed or replaced while this run worked"):
        run(*COMMON)
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_is_removed(run, tmp_path):
    (tmp_path / "out").mkdir()
    part = tmp_path / "out/.index.html.navicache-0123456789abcdef.part.html"
    part.write_text("<html>")
    run(*COMMON)
    assert not part.exists()


def test_missing_partners_files_and_folders(run, tmp_path):
    with pytest.raises(UsageError, match="expected two folders"):
        run("eval", "common", "a/same.mp4", "b/same.mp4")
    with pytest.raises(OutputError, match="none is not there"):
        run("eval", "common", "a", "none")
    (tmp_path / "b/same.mp4").unlink()
    with pytest.raises(UsageError, match=r"b has no same\.mp4"):
        run(*COMMON)
    with pytest.raises(UsageError, match=r"b has no same\.mp4"):
        run("eval", "common", "b", "a")
    assert not (tmp_path / "out").exists(), "nothing was started"


def test_a_pair_that_does_not_fit_keeps_those_before(run, tmp_path):
    write_video(pattern(1, frames=2), tmp_path / "b/same.mp4", 8, {}, overwrite=True)
    with pytest.raises(UsageError, match=r"expected b/same\.mp4 to have 3 frames"):
        run(*COMMON)
    shutil.copy(tmp_path / "a/same.mp4", tmp_path / "b/same.mp4")
    assert "3 pairs: 1 measured, 2 kept" in run(*COMMON)[1]


def test_figures_that_other_code_measured_are_not_kept(monkeypatch):
    before = pair_key(["a", "b"])
    monkeypatch.setattr(store, "_measuring_code", lambda: "edited")
    assert pair_key(["a", "b"]) != before
