"""Commands that are stopped in each of their phases: exit code, what is said of their work, what is left."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import clean_environment
from tests.evaluation.test_eval_common import pattern, write_video
from tests.program import ROOT
from tests.replay.test_replay import recording  # noqa: F401  a fixture
from tests.vbench_standin import make_videos, python_with_vbench

# Runs the program; at the n-th call of a function of a module, a signal comes.
STOP = """
import importlib, os, signal, sys, time
place, count, name, sys.argv[1:] = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
module = importlib.import_module(place.split(":")[0])
function = place.split(":")[1]
original, calls = getattr(module, function), []
def stop(*arguments, **options):
    calls.append(1)
    if len(calls) == count:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(60)
    return original(*arguments, **options)
setattr(module, function, stop)
from navicache_cli.app import main
main()
"""
COMPARE = ("compare", "--methods", "fewer-steps", "--prompt", "a red circle", "--steps", "3", "--no-lpips",
           "--output-dir", "out")  # fmt: skip
COMMON = ("eval", "common", "a", "b", "--no-lpips", "--output-dir", "out")
VBENCH = ("eval", "vbench", "--vbench-python", "./python with vbench", "--seeds", "1", "--videos", "videos",
          "--dimensions", "color,scene", "--scores", "out")  # fmt: skip
EVALUATION = "navicache_cli.evaluation"
NOTHING = "stopped before anything was finished; nothing was written"
# Stops the program while it is imported.
STOP_IMPORT = """
import os, signal, sys, time
class Stopper:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.{name})
            time.sleep(60)
sys.meta_path.insert(0, Stopper())
from navicache_cli.__main__ import main
main()
"""
# Arguments, where it is stopped, at which call, what is said, and the files there are then.
STOPS = [
    (COMPARE, "backends.registry:get_backend", 1, NOTHING, []),
    (COMPARE, "backends.tiny.backend:load_part", 1, "stopped; no finished cell is in out/cells", []),
    (COMPARE, "navicache_cli.compare.running:compare_videos", 1, "kept in out/cells (1 by now)", ["cells"]),
    (COMPARE, "navicache_cli.compare.results:page_text", 1, "kept in out/cells (3 by now)", ["cells"]),
    (COMPARE, "navicache_cli.compare.table:settings_table", 1, "had been written; that is complete",
     ["cells", "compare.csv", "compare.json", "index.html"]),
    (COMMON, "navicache_cli.media.lpips:pick_lpips", 1, NOTHING, []),
    (COMMON, f"{EVALUATION}.common:compare_files", 1, "no pair is measured yet", []),
    (COMMON, f"{EVALUATION}.common:compare_files", 2, "kept in out/pairs.jsonl", ["pairs.jsonl"]),
    (COMMON, f"{EVALUATION}.common:pairs_page", 1, "kept in out/pairs.jsonl", ["pairs.jsonl"]),
    (COMMON, f"{EVALUATION}.common:metrics_table", 1, "had been written; that is complete",
     ["common_metrics.json", "index.html", "pairs.jsonl"]),
    (VBENCH, f"{EVALUATION}.vbench:score_dimension", 1, "no dimension is scored yet", ["scores"]),
    (VBENCH, f"{EVALUATION}.vbench:vbench_page", 1, "kept in out/scores", ["scores"]),
    (("metrics", "a", "b", "--no-lpips"), "navicache_cli.evaluation.metrics:compare_files", 2, NOTHING, []),
    (("plot", "run.json", "-o", "out/x.png"), "navicache_cli.plots.plot:save", 1, NOTHING, []),
    (("replay", "run.json", "-o", "out/x.svg"), "navicache_cli.replay.replay:play", 1, NOTHING, []),
    (("replay", "run.json", "-o", "out/x.svg"), "navicache_cli.replay.replay:_table", 1,
     "stopped after out/x.svg had been written", ["x.svg"]),
    (("doctor",), "typer.main:get_command", 1, NOTHING, []),
    (("doctor",), "navicache_cli.setup.doctor:ffmpeg_check", 1, NOTHING, []),
    (("calibrate", "--steps", "3", "-o", "out/r.json"), "navicache_cli.run.calibrate:ratios_of", 1,
     NOTHING, []),
]  # fmt: skip
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGQUIT": 131}


@pytest.fixture(scope="module")
def ground(tmp_path_factory, recording) -> Path:  # noqa: F811
    """A folder with what the commands read. Each leaves its results in a folder that is removed."""
    folder = tmp_path_factory.mktemp("ground")
    for seed, name in enumerate(("a/one", "a/two", "b/one", "b/two")):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(pattern(seed), folder / f"{name}.mp4", 8, {})
    make_videos(folder / "videos")
    python_with_vbench(folder)
    (folder / "calls").touch()  # of vbench's double
    (folder / "run.json").write_bytes(recording.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("arguments", "place", "count", "told", "left", "name"),
    [(*stop, list(SIGNALS)[number % 4]) for number, stop in enumerate(STOPS)],
    ids=[f"{' '.join(stop[0][:2])} {stop[1].partition(':')[2]} {stop[2]}" for stop in STOPS],
)
def test_what_is_said_of_a_stopped_command_is_true(ground, arguments, place, count, told, left, name):
    before = {path for path in ground.rglob("*") if "out" not in path.parts}
    shutil.rmtree(ground / "out", ignore_errors=True)
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = warm.python(STOP, place, str(count), name, *arguments, cwd=ground, env=environment)
    assert done.returncode == SIGNALS[name], done.stderr
    said = " ".join(done.stderr.split())
    assert told in said
    assert re.search(r"error: stopped.* try: \S", said)
    assert "Traceback" not in said
    out = ground / "out"
    assert sorted(path.name for path in out.glob("*") if any(path.rglob("*")) or path.is_file()) == left
    assert not list(ground.rglob(".*")), "no part, no lock"
    assert {path for path in ground.rglob("*") if "out" not in path.parts} == before
    if complete := re.search(r"stopped after (.*?)(?: and \d+ more)? had been written", said):
        assert all((ground / path).stat().st_size for path in complete[1].split(", "))
    if kept := re.search(r"kept in out/cells \((\d+) by now\)", said):
        assert len(list(out.glob("cells/*.cell.json"))) == int(kept[1])


@pytest.mark.parametrize(("name", "code"), SIGNALS.items())
def test_stopped_while_it_is_imported(tmp_path, name, code):
    done = subprocess.run(
        [sys.executable, "-c", STOP_IMPORT.format(name=name), "doctor"],
        cwd=tmp_path, env=clean_environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "error: stopped\ntry: run the same command again\n"
