"""`navicache batch` through the real program: what is made, kept, made again, refused and recorded."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from navicache_cli.batch.manifest import Manifest
from navicache_cli.files import part_of
from navicache_cli.media.video import read_video
from tests.batches import (
    NAMES,
    PROMPTS,
    QUICK,
    SHORT,
    digests,
    done_names,
    records,
    run,
    start,
    wait_for,
)
from tests.conftest import clean_environment
from tests.program import on_a_terminal, report_in


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with prompts.txt and the whole of its batch, made without an interruption. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "prompts.txt").write_text("\n\n".join(PROMPTS) + "\n")
    done = run(folder, "batch", "prompts.txt", *QUICK)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of `finished` to change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def prompts(tmp_path) -> Path:
    """A folder with the same prompts and nothing made."""
    (tmp_path / "prompts.txt").write_text("\n\n".join(PROMPTS) + "\n")
    return tmp_path


def test_videos_reports_and_manifest(finished):
    made = digests(finished / "out/videos")
    assert sorted(made) == sorted(NAMES), "videos and nothing else: VBench takes every file for one"
    assert len(set(made.values())) == len(NAMES)
    done = {record["name"]: record for record in records(finished / "out") if record["state"] == "done"}
    assert {name: record["video"] for name, record in done.items()} == made
    for name, record in done.items():
        report = report_in(finished / "out" / record["report"])
        prompt, n = name.removesuffix(".mp4").rsplit("-", 1)
        plan = report["plan"]
        line = 1 + 2 * PROMPTS.index(prompt)
        assert plan["prompt"] == {"value": prompt, "source": f"prompts.txt line {line}"}
        assert plan["seed"]["value"] == int(n)
        assert report["output"]["sha256"] == made[name]
        assert (record["steps"], record["skipped"]) == (4, 1)
        assert report["totals"]["skipped_steps"] == 1
        assert read_video(finished / "out/videos" / name)[0].shape == (17, 64, 64, 3)


def test_progress_without_a_terminal(finished):
    lines = [line for line in (finished / "stderr").read_text().splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in lines] == [f"[{count}/6" for count in range(1, 7)]
    for line in lines:
        assert "25% skipped" in line
        assert "videos per" in line
        assert "left" in line
    assert "0:00:00 left" in lines[-1]
    assert "6 of 6 finished, 6 now" in (finished / "stdout").read_text()


def test_the_same_video_as_generate(finished, tmp_path):
    done = run(tmp_path, "generate", *SHORT, "--prompt", PROMPTS[1], "--seed", "1", "-o", "v.mp4", "-q")
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path)["v.mp4"] == digests(finished / "out/videos")[f"{PROMPTS[1]}-1.mp4"]


def test_again_makes_nothing(copy):
    before = {path: path.stat().st_mtime_ns for path in (copy / "out").rglob("*")}
    done = run(copy, "batch", "prompts.txt", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["videos"], outcome["made"], outcome["failed"]) == (6, [], {})
    assert outcome["skip_ratio"] == 0.25
    assert sorted(outcome["kept"]) == sorted(NAMES)
    assert {path: path.stat().st_mtime_ns for path in (copy / "out").rglob("*")} == before


def test_videos_of_an_older_version_are_kept(copy):
    """Its plans held the settings of all methods, and counted them in."""
    out = copy / "out"
    for path in (out / "reports").glob("*.json"):
        report = json.loads(path.read_text())
        report["plan"]["interval"] = {"value": 0, "source": "default"}
        path.write_text(json.dumps(report))
    manifest = out / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**line, "settings": "0" * 32}) + "\n" for line in lines))
    done = run(copy, "batch", "prompts.txt", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["kept"]) == sorted(NAMES)
    done = run(copy, "batch", "prompts.txt", *QUICK, "--guidance", "3")
    assert "guidance 4.0, now 3.0" in " ".join(done.stderr.split()), "one made otherwise is still told apart"


def test_damaged_and_missing_are_made_again(copy, finished):
    out = copy / "out"
    (out / "videos" / NAMES[0]).write_bytes(b"half a video")
    (out / "videos" / NAMES[1]).unlink()
    (out / "reports" / NAMES[2].replace(".mp4", ".json")).unlink()
    # What a run killed while it wrote leaves: a record of the start, hidden files, half a line.
    started = {**records(out)[0], "name": NAMES[1], "state": "started"}
    hidden = out / "videos" / f".{NAMES[1]}.navicache-0123456789abcdef.part.mp4"
    hidden.write_bytes(b"part")
    with (out / "manifest.jsonl").open("a") as manifest:
        manifest.write(json.dumps(started) + '\n{"version": 2, "name": "a bl')
    with part_of(out / "videos" / NAMES[1]) as other:  # of another shard at work
        done = run(copy, "batch", "prompts.txt", *QUICK, "--json")
        assert done.returncode == 0, done.stderr
        assert other.exists()
    assert sorted(json.loads(done.stdout)["made"]) == sorted(NAMES[:3])
    assert digests(out / "videos") == digests(finished / "out/videos"), "the hidden file is gone"
    assert done_names(out) == sorted([*NAMES, *NAMES[:3]]), "and every line can be read"


def test_restarting_a_shard_leaves_the_unfinished_videos_of_others(copy):
    """Their names may begin alike, and in containers their process numbers are alike too."""
    out = copy / "out"
    with part_of(out / "videos" / NAMES[0]) as video, part_of(out / "reports" / "x.json") as report:
        (out / "videos" / NAMES[1]).unlink()
        for shard in ("1/2", "2/2"):
            done = run(copy, "batch", "prompts.txt", *QUICK, "--shard", shard)
            assert done.returncode == 0, done.stderr
        assert video.exists()
        assert report.exists()


def test_what_a_killed_run_left_is_removed_where_all_is_finished(copy):
    left = copy / "out/videos" / f".{NAMES[0]}.navicache-0123456789abcdef.part.mp4"
    left.write_bytes(b"part")
    done = run(copy, "batch", "prompts.txt", *QUICK)
    assert done.returncode == 0, done.stderr
    assert not left.exists()


def test_a_finished_video_without_its_record_is_kept(copy):
    """Killed after the report and before the record."""
    manifest = copy / "out/manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    assert len(done_names(copy / "out")) == 5
    done = run(copy, "batch", "prompts.txt", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == []
    assert done_names(copy / "out") == sorted(NAMES)


def test_kill_9_and_again(prompts, finished):
    process = start(prompts, *QUICK)
    wait_for(process, "[2/6]")
    time.sleep(0.05)  # Into the third.
    process.kill()
    process.communicate()
    out = prompts / "out"
    before = done_names(out)
    assert 2 <= len(before) < 6
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert digests(out / "videos") == digests(finished / "out/videos"), "no hidden file is left either"
    assert sorted(digests(out / "reports")) == sorted(name.replace(".mp4", ".json") for name in NAMES)
    assert done_names(out) == sorted(NAMES), "each once"
    assert set(before) <= set(json.loads(done.stdout)["kept"])


def test_ctrl_c(prompts):
    process = start(prompts, *QUICK)
    wait_for(process, "[1/6]")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--dry-run", "--json")
    states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert [name for name, state in states.items() if state == "finished"] == done_names(prompts / "out")
    assert states[NAMES[0]] == "finished"
    assert states[NAMES[-1]] == "to be made"


def test_full_disk(prompts, finished):
    """A limit on file size makes writes fail as a full disk does: first the videos', then the manifest's."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4200, 4200))  # The test of the folder writes 4096.

    # -B: the limit is for the batch's files, not for compiled modules.
    done = subprocess.run(
        [sys.executable, "-B", "-m", "navicache_cli", "batch", "prompts.txt", *QUICK, "--retry", "2"],
        cwd=prompts, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "manifest.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
    assert digests(prompts / "out/videos") == {}
    assert not (prompts / "out/manifest.jsonl").read_bytes().endswith(b"\n"), "a line was cut off"
    done = run(prompts, "batch", "prompts.txt", *QUICK)
    assert done.returncode == 0, done.stderr
    assert digests(prompts / "out/videos") == digests(finished / "out/videos")


def test_a_failing_video_does_not_stop_the_others(tmp_path):
    """`tiny` refuses prompts without a word it knows."""
    (tmp_path / "prompts.txt").write_text("a red circle\na hippopotamus\na blue star\na rhinoceros\n")
    common = ("batch", "prompts.txt", "--steps", "4", "--name", "{row}.mp4", "--output-dir", "out")
    done = run(tmp_path, *common, "--json")
    assert done.returncode == 8, done.stderr
    assert "2 of 4 videos failed" in done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["made"] == ["0001.mp4", "0003.mp4"]
    assert sorted(outcome["failed"]) == ["0002.mp4", "0004.mp4"]
    assert "prompts.txt line 2" in outcome["failed"]["0002.mp4"]
    failed = [record for record in records(tmp_path / "out") if record["state"] == "failed"]
    assert [(record["name"], record["exit_code"]) for record in failed] == [("0002.mp4", 2), ("0004.mp4", 2)]
    # Fixed, it resumes; and stops where told to.
    (tmp_path / "prompts.txt").write_text("a red circle\na hippopotamus\na blue star\na purple square\n")
    done = run(tmp_path, *common, "--json", "--max-failures", "1")
    assert done.returncode == 8, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["kept"] == ["0001.mp4", "0003.mp4"]
    assert (outcome["made"], list(outcome["failed"])) == ([], ["0002.mp4"])
    # Only what cannot be made is left: still a batch with failures, not a wrong command.
    (tmp_path / "prompts.txt").write_text("a red circle\na hippopotamus\na blue star\n")
    assert run(tmp_path, *common).returncode == 8
    (tmp_path / "none.txt").write_text("a hippopotamus\na rhinoceros\n")
    done = run(tmp_path, "batch", "none.txt", "--output-dir", "none")
    assert done.returncode == 2
    assert "none.txt line 1: the prompt has no word" in done.stderr


# The program on a machine where generation fails once in a while: at the first try of each video asked for.
FLAKY = """
import sys, navicache_cli.app as app, backends.tiny.backend as tiny
generate, seen = tiny.TinyPipeline.generate, set()
def flaky(self, plan, stages):
    if "green" in plan.prompt and plan.seed not in seen:
        seen.add(plan.seed)
        raise RuntimeError("the device was lost")
    return generate(self, plan, stages)
tiny.TinyPipeline.generate = flaky
app.main()
"""


@pytest.mark.parametrize("retry", ["0", "1"])
def test_retry(prompts, finished, retry):
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--retry", retry, code=FLAKY)
    green = [name for name in NAMES if "green" in name]
    failed = [record for record in records(prompts / "out") if record["state"] == "failed"]
    assert [(record["name"], record["error"]) for record in failed] == [
        (name, "RuntimeError: the device was lost") for name in green
    ]
    assert "in flaky" in failed[0]["traceback"]
    if retry == "0":
        assert done.returncode == 8, done.stderr
        assert done_names(prompts / "out") == sorted(set(NAMES) - set(green))
    else:
        assert done.returncode == 0, done.stderr
        assert digests(prompts / "out/videos") == digests(finished / "out/videos")
        assert [r["attempt"] for r in records(prompts / "out") if r["state"] == "done"] == [1, 1, 1, 1, 2, 2]


def test_shards_and_then_the_rest(prompts, finished):
    parts = []
    for shard in ("1/3", "2/3", "3/3"):
        done = run(prompts, "batch", "prompts.txt", *QUICK, "--shard", shard, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        parts.append([row["name"] for row in json.loads(done.stdout)])
    assert sorted(name for part in parts for name in part) == sorted(NAMES), "disjoint and complete"
    assert [len(part) for part in parts] == [2, 2, 2]
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--shard", "2/3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == parts[1]
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == parts[1]
    assert digests(prompts / "out/videos") == digests(finished / "out/videos")


@pytest.mark.parametrize(("held", "asked", "code"), [
    ((1, 1), (), 6), ((2, 2), ("--shard", "2/2"), 6), ((1, 2), (), 6), ((1, 1), ("--shard", "1/2"), 6),
    ((1, 2), ("--shard", "2/2"), 0),
])  # fmt: skip
def test_two_runs_at_once_never_share_videos(copy, held, asked, code):
    with Manifest(copy / "out", held):
        done = run(copy, "batch", "prompts.txt", *QUICK, *asked)
    assert done.returncode == code, done.stderr
    assert ("another run works on this batch" in done.stderr) == bool(code)


def test_columns_methods_and_modes(tmp_path):
    rows = [
        {"prompt": "a red circle", "steps": 3, "seed": 7, "align-steps": None},
        {"prompt": "a red circle", "guidance": 1.5, "output": "folder/mine.mp4"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    done = run(
        tmp_path, "batch", "rows.jsonl", "--steps", "4", "--method", "easycache", "--seed", "2",
        "--guidance", "3", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    names = ["0001-a-red-circle-easycache-fast-7", "folder/mine"]
    found = [report_in(tmp_path / "batch/reports" / f"{name}.json")["plan"] for name in names]
    values = [[plan[key]["value"] for key in ("steps", "seed", "guidance", "method")] for plan in found]
    assert values == [[3, 7, 3.0, "easycache"], [4, 2, 1.5, "easycache"]]
    assert [plan["steps"]["source"] for plan in found] == ["rows.jsonl", "--steps"]

    (tmp_path / "rows.csv").write_text('prompt,seed\n"a red circle, moving right",\na blue star,9\n')
    done = run(
        tmp_path, "batch", "rows.csv", "--methods", "navicache,easycache", "--modes", "off,slow",
        "--name", "{mode}/{method}/{slug}-{seed}.mp4", "--dry-run", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)] == [
        f"{setting}/{name}.mp4"
        for name in ("a-red-circle-moving-right-0", "a-blue-star-9")
        for setting in ("off/off", "slow/navicache", "slow/easycache")
    ]


def test_vbench_prompts(tmp_path):
    entries = [
        {"prompt_en": "a toilet, frozen in time", "dimension": ["temporal_flickering"]},
        {"prompt_en": "A cat.", "dimension": ["color"], "auxiliary_info": {"color": "white"}},
        {"prompt_en": "a toilet, frozen in time", "dimension": ["scene"]},
    ]
    (tmp_path / "VBench_full_info.json").write_text(json.dumps(entries))
    done = run(
        tmp_path, "batch", "VBench_full_info.json", "--name", "{prompt}-{n}.mp4", "--seeds", "5",
        "--model", "opensora", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = [f"{prompt}-{n}.mp4" for prompt in ("a toilet, frozen in time", "A cat.") for n in range(5)]
    assert [line.split(": ")[1].split(" (")[0] for line in done.stdout.splitlines()[:-1]] == expected
    assert done.stdout.splitlines()[-1] == "10 to be made"
    assert list(tmp_path.iterdir()) == [tmp_path / "VBench_full_info.json"]


def test_other_settings_are_not_mixed_in(copy):
    done = run(copy, "batch", "prompts.txt", *QUICK, "--steps", "5")
    assert done.returncode == 2, done.stderr
    assert "other settings: steps 4, now 5" in done.stderr
    done = run(copy, "batch", "prompts.txt", *QUICK, "--steps", "5", "--overwrite", "--dry-run")
    assert "6 to be made again" in done.stdout


@pytest.mark.parametrize("place", ["videos/{}.mp4", "reports/{}.json"])
def test_a_file_from_elsewhere_is_not_replaced(prompts, place):
    taken = prompts / "out" / place.format(NAMES[3].removesuffix(".mp4"))
    taken.parent.mkdir(parents=True)
    taken.write_text("precious")
    done = run(prompts, "batch", "prompts.txt", *QUICK)
    assert done.returncode == 2, done.stderr
    assert f"prompts.txt line 3: {taken.relative_to(prompts)} is there" in done.stderr
    assert "--overwrite" in done.stderr
    assert taken.read_text() == "precious"
    assert [path.name for path in taken.parent.iterdir()] == [taken.name], "nothing was started"
    done = run(prompts, "batch", "prompts.txt", *QUICK, "--overwrite", "--dry-run", "--json")
    states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert states == dict.fromkeys(NAMES, "to be made") | {NAMES[3]: "to be made again"}


def test_the_folder_is_taken_away_while_a_run_works(prompts):
    process = start(prompts, *QUICK)
    wait_for(process, "[1/6]")
    (prompts / "out").rename(prompts / "moved")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    assert "the batch in it was removed or replaced while this run worked" in errors
    assert "Traceback" not in errors
    assert not (prompts / "out").exists()
    (prompts / "moved").rename(prompts / "out")
    done = run(prompts, "batch", "prompts.txt", *QUICK)
    assert done.returncode == 0, done.stderr
    assert sorted(digests(prompts / "out/videos")) == sorted(NAMES)


BY_PROMPT = ("--name", "{prompt}.mp4")
BAD = [
    ("p.txt", b"a cat\na \xff dog\n", (), "p.txt line 2 is not UTF-8"),
    ("p.txt", b"a cat\n" + b"x" * 10_000_000, (), "p.txt line 2: prompt expects at most 20000 characters"),
    ("p.csv", b"prompt\n" + b"x" * 10_000_000, (), "p.csv line 2"),
    ("p.txt", b"a cat\n../../etc/passwd\n", BY_PROMPT, "p.txt line 2: expected a prompt that can"),
    ("p.txt", b"a cat\n.hidden\n", BY_PROMPT, "p.txt line 2"),
    ("p.txt", b"a cat\n" + b"long " * 60, BY_PROMPT, "p.txt line 2: expected a name of at most"),
    ("p.txt", b"a cat\n\na cat\n", BY_PROMPT, "p.txt line 3: the name 'a cat.mp4' is taken by p.txt"),
    ("p.txt", b"a cat\n", ("--name", "{title}.mp4"), "unknown field 'title'"),
    ("p.txt", b"a cat\n", ("--name", "{prompt.__class__}.mp4"), "unknown field"),
    ("p.txt", b"a cat\n", ("--name", "{prompt}.avi"), "end in .mp4"),
    ("p.txt", b"a cat\n", ("--name", "../{prompt}.mp4"), "below the folder of videos"),
    ("p.txt", b"a cat\n", ("--name", "/tmp/{prompt}.mp4"), "below the folder of videos"),
    ("p.txt", b"a cat\n", ("--name", "{prompt.mp4"), "braces in pairs"),
    ("p.csv", b"prompt,stepz\na cat,3\n", (), "p.csv line 1: unknown column 'stepz'"),
    ("p.csv", b"prompt,steps\na cat,3\na dog\n", (), "p.csv line 3: expected 2 fields"),
    ("p.csv", b"prompt,steps\na cat,3\na dog,ten\n", (), "p.csv line 3: steps expects a whole number"),
    ("p.csv", b"prompt,prompt\na cat,a dog\n", (), "p.csv line 1: expected each column once"),
    ("p.csv", b"steps\n3\n", (), "p.csv line 2: expected a prompt"),
    ("p.csv", b"prompt,output\na cat,../x.mp4\n", (), "p.csv line 2"),
    ("p.jsonl", b'{"prompt": "a cat"}\n{"prompt": "a', (), "p.jsonl line 2: it is not JSON"),
    ("p.jsonl", b'{"prompt": "a cat", "stepz": 3}', (), "p.jsonl line 1: unknown column 'stepz'"),
    ("p.jsonl", b'{"prompt": "a cat", "steps": [3]}', (), "p.jsonl line 1: steps expects"),
    ("p.jsonl", b'{"prompt": "a cat", "steps": 1e999}', (), "p.jsonl line 1: finite numbers were expected"),
    ("p.jsonl", b'{"prompt": "\\ud83d"}', (), "prompt expects text of whole characters"),
    ("p.jsonl", b'{"prompt": "a cat", "output_dir": "x"}', (), "p.jsonl line 1: output_dir is one for"),
    ("p.jsonl", b'{"prompt": "a", "model": "tiny"}\n{"prompt": "a", "model": "wan"}', (),
     "p.jsonl line 2: a batch loads one model"),
    ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "a", "weights": "w"}', (),
     "p.jsonl line 2: a batch loads one model"),
    ("p.jsonl", b'{"prompt": "a", "mode": "slow"}', ("--modes", "fast,slow"),
     "p.jsonl line 1: has a mode of its own"),
    ("p.csv", b"prompt,output\na,x.mp4/y.mp4\nb,x.mp4\n", (),
     "p.csv line 2: the name 'x.mp4/y.mp4' needs a folder 'x.mp4', which is a file of p.csv line 3"),
    ("p.csv", b"prompt,output\na,x.mp4\nb,z/x.mp4\nc,x.json/y.mp4\n", (), "p.csv line 4: the name"),
    ("p.jsonl", b'{"prompt": "a", "output": "x\\u001b[2J.mp4"}', (), "line 1: a video's name expects"),
    ("p.txt", b"a cat\n", ("--name", "a\nb-{row}.mp4"), "--name: a video's name expects"),
    ("p.jsonl", b'{"prompt": "a", "prompt": "b"}', (), "line 1: each key was expected once, 'prompt'"),
    ("p.jsonl", b'{"prompt": "a", "align-steps": 2, "align_steps": 3}', (), "line 1: expected each option"),
    ("p.jsonl", b"[" * 100_000, (), "p.jsonl line 1"),
    ("p.json", b'[{"prompt_en": "a", "dimension": []}, {"prompt": "a"}]', (), "p.json entry 2"),
    ("p.json", b'{"prompt": "a"}', (), "VBench"),
    ("p.txt", b"\n \n", (), "expected prompts"),
    ("p.doc", b"a cat", (), ".jsonl"),
    ("p.txt", b"a cat", ("--shard", "3/2"), "--shard expects"),
    ("p.txt", b"a cat", ("--seeds", "0"), "--seeds expects 1 or more"),
    ("p.txt", b"a cat", ("--seeds", "99999999"), "at most 1,000,000 videos"),
    ("p.txt", b"a cat", ("--seeds", "2", "--seed", str(2**63 - 1)), "64-bit"),
    ("p.txt", b"a cat", ("--modes", "fast,fast"), "--modes expects different names"),
    ("p.txt", b"a cat", ("--modes", "fast,quick"), "unknown mode 'quick'"),
    ("p.txt", b"a cat", ("--set", "output=v.mp4"), "use --name"),
    ("p.txt", b"a cat", ("--set", "ulysses=2"), "ulysses"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "arguments", "told"), BAD, ids=list(range(len(BAD))))
def test_bad_input_is_refused_before_any_work(tmp_path, name, content, arguments, told):
    (tmp_path / name).write_bytes(content)
    done = run(tmp_path, "batch", name, *arguments)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "try:" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1500
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_missing_file_and_unwritable_folder(tmp_path):
    assert "No such file" in run(tmp_path, "batch", "none.txt").stderr
    (tmp_path / "p.txt").write_text("a red circle")
    (tmp_path / "file").write_text("not a folder")
    done = run(tmp_path, "batch", "p.txt", "--output-dir", "file")
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr


def test_help_offers_the_options_of_generate(tmp_path):
    offered, generate = run(tmp_path, "batch", "--help").stdout, run(tmp_path, "generate", "--help").stdout
    for option in ("--steps", "--guidance", "--threshold", "--config", "--baseline", "--offload"):
        assert option in offered
        assert option in generate
    assert "--prompt-file" in generate
    assert "--prompt-file" not in offered


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is a POSIX thing")
def test_progress_on_a_terminal(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red circle\na hippopotamus\n")
    # Enough steps for the bar, which is drawn ten times per second, to show some of them.
    code, text = on_a_terminal(tmp_path, "batch", "prompts.txt", "--steps", "60", "--mode", "off")
    assert code == 8
    assert "% skipped" in text
    assert "videos per" in text
    assert re.search(r"step \d+/60", text)
    assert "1 of 2 finished" in text
