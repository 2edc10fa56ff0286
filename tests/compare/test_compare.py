"""`navicache compare` through the real program: figures, files, going on after an interruption, errors."""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from navicache_cli.compare.document import Comparison
from navicache_cli.media.metrics import FROM_FRAMES, METRICS
from navicache_cli.media.video import read_video
from navicache_cli.report.documents import as_document
from navicache_cli.report.speed import BEYOND, OF_CPU
from tests.comparison import PROMPTS, SETTINGS, arguments
from tests.conftest import clean_environment
from tests.program import report_in


def cells_of(document: dict, setting: str) -> list[dict]:
    return [cell for cell in document["cells"] if cell["setting"] == setting]


def settings_of(document: dict) -> dict[str, dict]:
    return {setting["name"]: setting for setting in document["settings"]}


def finished(folder: Path) -> dict[str, int]:
    """Finished cells, each with the time it was finished."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("cells/*.cell.json")}


def test_every_prompt_runs_with_every_setting(comparison):
    document = comparison.document
    as_document(document, Comparison)
    assert [setting["name"] for setting in document["settings"]] == ["off", *SETTINGS]
    assert document["prompts"] == list(PROMPTS)
    assert document["seeds"] == [3]
    found = {(cell["setting"], cell["prompt"], cell["seed"]) for cell in document["cells"]}
    assert found == {(name, prompt, 3) for name in ("off", *SETTINGS) for prompt in (0, 1)}
    assert len(document["cells"]) == len(found)
    assert "16 cells: 16 run, 0 kept" in comparison.stderr


def test_cells_are_what_generate_would_write(comparison, cli):
    """One cell's figures are those of `generate --baseline` with the same settings."""
    (cell,) = [one for one in cells_of(comparison.document, "navicache threshold 5") if one["prompt"] == 0]
    report = report_in(comparison.folder / cell["report"])
    sampler = ("--prompt", PROMPTS[0], "--seed", "3", "--steps", "6", "--align-steps", "2")
    done = cli("generate", *sampler, "--threshold", "5", "--baseline", "--json")
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    for key in FROM_FRAMES:
        assert cell[key] == pytest.approx(alone["baseline"][key], abs=1e-9)
    assert [step["computed"] for step in report["steps"]] == [step["computed"] for step in alone["steps"]]
    assert cell["computed_steps"] == alone["totals"]["computed_steps"] < 6
    assert cell["cache_bytes"] == alone["totals"]["cache_bytes"] > 0
    frames, fps = read_video(comparison.folder / cell["video"])
    assert (frames.shape, fps) == ((17, 64, 64, 3), 8)


def test_figures_are_against_the_baseline(comparison):
    document = comparison.document
    baselines = {cell["prompt"]: cell for cell in cells_of(document, "off")}
    for cell in document["cells"]:
        if cell["setting"] == "off":
            assert (cell["compute_ratio"], cell["speedup"], cell["psnr"]) == (1, 1, None)
        else:
            reports = (
                report_in(comparison.folder / one["report"]) for one in (baselines[cell["prompt"]], cell)
            )
            uncached, cached = (report["timings_s"]["cpu"]["denoise"] for report in reports)
            assert cell["speedup"] == pytest.approx(uncached / cached)
            assert cell["beyond_bound"] == (cell["speedup"] * cell["compute_ratio"] > 1.05)
            assert 5 < cell["psnr"] <= 100
    assert OF_CPU in document["notes"]
    assert (BEYOND in document["notes"]) == any(cell["beyond_bound"] for cell in document["cells"])
    # Half the steps are half the work of the baseline, though none of its own is saved.
    (half,) = {cell["compute_ratio"] for cell in cells_of(document, "fewer-steps 3")}
    assert half == pytest.approx(0.5)
    found = settings_of(document)
    strict, lax = found["navicache threshold 0.001"], found["navicache threshold 5"]
    assert lax["compute_ratio"] < strict["compute_ratio"] == 1
    assert lax["psnr"]["mean"] < strict["psnr"]["mean"] == 100


def test_summary_is_of_the_cells(comparison):
    document = comparison.document
    for setting in document["settings"][1:]:
        cells = cells_of(document, setting["name"])
        for measure, metric in FROM_FRAMES.items():
            values, spread = [cell[measure] for cell in cells], setting[measure]
            assert spread["mean"] == pytest.approx(statistics.fmean(values))
            assert spread["worst"] == (max(values) if metric.less_is_better else min(values))
            assert min(values) <= spread["low"] <= spread["mean"] <= spread["high"] <= max(values)
        assert setting["denoise_s"] == pytest.approx(statistics.median(cell["denoise_s"] for cell in cells))
        assert setting["speedup"] == pytest.approx(statistics.median(cell["speedup"] for cell in cells))
        assert setting["cells"] == len(cells) == 2


def test_csv_has_a_row_a_cell(comparison):
    with (comparison.folder / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "setting", "method", "prompt", "seed", "compute_ratio", "computed_steps", "denoise_s", "speedup",
        *METRICS, "cache_bytes", "key", "video", "report", "prompt_text", "navicache_version",
    ]  # fmt: skip
    assert len(rows) == len(comparison.document["cells"])
    for row, cell in zip(rows, comparison.document["cells"], strict=True):
        assert row["setting"] == cell["setting"]
        assert row["prompt_text"] == PROMPTS[cell["prompt"]]
        for key in METRICS:
            assert row[key] == ("" if cell[key] is None else str(cell[key]))
        assert float(row["speedup"]) == cell["speedup"]


def test_json_on_standard_output_is_the_file(comparison):
    assert json.loads((comparison.folder / "compare.json").read_text()) == comparison.document


def start(folder: Path, prompts: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "navicache_cli", *arguments(folder, prompts)],
        env=clean_environment(), cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for_cells(process: subprocess.Popen, folder: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(finished(folder)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "it was over before it could be stopped"


def test_a_killed_run_goes_on(cli, tmp_path, prompt_file):
    folder = tmp_path / "out"
    process = start(folder, prompt_file)
    wait_for_cells(process, folder, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = finished(folder)
    assert 3 <= len(kept) < 16
    assert not (folder / "compare.json").exists()
    done = cli(*arguments(folder, prompt_file), timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"16 cells: {16 - len(kept)} run, {len(kept)} kept" in done.stderr
    assert kept.items() <= finished(folder).items(), "kept cells are not written again"
    document = json.loads(done.stdout)
    sittings = [cell["sitting"] for cell in document["cells"]]
    assert len(set(sittings)) == 2
    assert any("2 sittings" in note for note in document["notes"])
    again = cli(*arguments(folder, prompt_file), timeout=300)
    assert "16 cells: 0 run, 16 kept" in again.stderr
    assert json.loads(again.stdout)["cells"] == document["cells"]


def test_ctrl_c_keeps_what_is_finished(cli, tmp_path, prompt_file):
    folder = tmp_path / "out"
    process = start(folder, prompt_file)
    wait_for_cells(process, folder, 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished cells are kept" in stderr
    assert "Traceback" not in stderr
    assert finished(folder)


def test_only_what_changed_runs_again(comparison, cli, copied, prompt_file):
    """A damaged cell and a new setting run; everything else stays."""
    folder = copied(comparison.folder)
    (cell,) = [one for one in cells_of(comparison.document, "easycache fast") if one["prompt"] == 1]
    (folder / cell["report"]).with_suffix(".cell.json").write_text('{"version": 1, "key"')
    done = cli(*arguments(folder, prompt_file), "--sweep", "easycache.threshold=0.3:0.3:1", timeout=300)
    assert done.returncode == 0, done.stderr
    # Two of the new setting; the modes of a swept method are still asked for by name.
    assert "18 cells: 3 run, 15 kept" in done.stderr
    assert len(cells_of(json.loads(done.stdout), "easycache threshold 0.3")) == 2


def test_other_steps_start_anew(comparison, cli, copied, prompt_file):
    folder = copied(comparison.folder)
    done = cli(*arguments(folder, prompt_file, steps=5), timeout=300)
    assert done.returncode == 0, done.stderr
    assert " 0 kept" in done.stderr


def test_table_without_json(comparison, cli, copied, prompt_file):
    folder = copied(comparison.folder)
    done = cli(*(one for one in arguments(folder, prompt_file) if one != "--json"), timeout=300)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert [row.split()[0] for row in rows[:2]] == ["setting", "off"]
    assert sum(row.startswith(SETTINGS) for row in rows) == len(SETTINGS)
    assert str(folder / "compare.csv") in rows


def test_what_compare_decides_is_passed_over_with_a_note(comparison, cli, copied, prompt_file):
    folder = copied(comparison.folder)
    env = {"NAVICACHE_THRESH": "0.9", "NAVICACHE_MODE": "slow", "NAVICACHE_OUTPUT": "video.mp4"}
    done = cli(*arguments(folder, prompt_file), env=env, timeout=300)
    assert "16 cells: 0 run, 16 kept" in done.stderr, "the same plans as without them"
    assert "compare chooses the threshold itself" in done.stderr
    assert "compare chooses the mode itself" in done.stderr


def test_a_setting_that_equals_another_is_left_out(comparison, cli, copied, prompt_file):
    """A threshold by its number, and by the name of a mode."""
    folder = copied(comparison.folder)
    sweep = ("--sweep", "easycache.threshold=0.07:0.07:1")
    done = cli(*arguments(folder, prompt_file), *sweep, timeout=300)
    assert "easycache threshold 0.07 is left out: it is the same as easycache fast" in done.stderr
    assert "16 cells: 0 run, 16 kept" in done.stderr


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--methods", "navicahe"], "did you mean navicache?"),
        (["--methods", "off"], "expected a method to compare with the baseline"),
        (["--methods", ","], "--methods expects names"),
        (["--modes", "faster"], "did you mean fast?"),
        (["--sweep", "navicache.threshold=0.1"], "method.option=low:high:count"),
        (["--sweep", "navicache.treshold=0.1:0.2:3"], "did you mean threshold?"),
        (["--sweep", "navicache.seed=1:2:2"], "unknown option of navicache"),
        (["--sweep", "nobody.threshold=0.1:0.2:3"], "unknown method"),
        (["--sweep", "navicache.threshold=a:0.2:3"], "a number"),
        (["--sweep", "navicache.threshold=0.1:0.2:0"], "a count of 1 to"),
        (["--sweep", "navicache.threshold=-1:0.2:3"], "threshold expects 0 or more"),
        (["--sweep", "fewer-steps.steps=10:90:3"], "expects 1 to 50 steps"),
        (["--seeds", "0"], "seeds expects 1"),
        (["--prompts", "many.txt", "--seeds", "1000", "--methods", "easycache"], "at most 1,000,000 videos"),
        (["--prompts", "missing.txt"], "cannot read the prompts"),
        (["--prompts", "empty.txt"], "expected one prompt per line"),
        (["--prompts", "unknown.txt"], "no word"),
        (["--model", "huge"], "unknown model"),
        (["--set", "align_steps=-1"], "align-steps expects 0 or more"),
    ],
)
def test_errors_come_before_anything_is_loaded(cli, tmp_path, extra, told):
    (tmp_path / "empty.txt").write_text("\n  \n")
    (tmp_path / "many.txt").write_text("\n".join(f"a red circle {i}" for i in range(501)))
    (tmp_path / "unknown.txt").write_text("xyzzy plugh\n")
    done = cli("compare", *extra)
    assert done.returncode == 2, done.stderr
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "compare").exists()


def test_several_processes_are_refused(cli):
    done = cli("compare", env={"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"})
    assert done.returncode == 2
    assert "one process" in done.stderr


def test_options_of_generate_are_offered(cli):
    shown = cli("compare", "--help").stdout
    for option in ("--guidance", "--solver", "--weights", "--align-steps", "--config", "--set", "--sweep"):
        assert option in shown
    for option in ("--mode ", "--overwrite", "--dry-run", "--prompt-file"):
        assert option not in shown
