"""Parts of `navicache batch` that need no program: the manifest and its size, shards, names, fingerprints."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from navicache_cli.batch.items import in_shard, make_items, read_shard
from navicache_cli.batch.manifest import (
    DONE,
    STARTED,
    VERSION,
    Done,
    Failed,
    Manifest,
    Started,
    read_manifests,
)
from navicache_cli.batch.names import make_name
from navicache_cli.batch.rows import Row
from navicache_cli.errors import OutputError, UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import MOST_VIDEOS

LINE = {"version": VERSION, "name": "a", "state": "started", "run": 1, "settings": "s"}
FINISHED = {"settings": "0" * 32, "video": "0" * 64, "steps": 50, "skipped": 26, "attempt": 1}


def rows(count: int) -> list[Row]:
    return [Row(i, f"p.txt line {i}", {"prompt": f"a red circle, number {i}"}) for i in range(1, count + 1)]


def items(count: int, seeds: int = 1, settings=({},), layers=()):
    name = "{row}-{mode}-{n}.mp4"
    return make_items(rows(count), list(layers), "p.txt", name, seeds, [dict(one) for one in settings])


def test_a_manifest_of_100_000_items_opens_in_2_seconds(tmp_path):
    """Two lines per item, as a run writes them."""
    facts = {"run": 1, "at": 1.7e9, "pid": 12345, **FINISHED, "seconds": 123.456}
    with (tmp_path / "manifest.jsonl").open("w") as file:
        for i in range(100_000):
            name = f"A beautiful coastal beach in spring, waves lapping on sand, number {i}-0.mp4"
            for state in (STARTED, DONE):
                report = f"reports/{name.replace('.mp4', '.json')}"
                record = {"version": VERSION, "name": name, "state": state, **facts, "report": report}
                file.write(json.dumps(record) + "\n")
    # Of this process alone: what else runs on the machine is not the manifest's.
    before = time.process_time()
    with Manifest(tmp_path, (1, 1)) as manifest:
        seconds = time.process_time() - before
    assert len(manifest.records) == 100_000
    assert {one.state for one in manifest.records.values()} == {DONE}
    assert seconds < 2


@pytest.mark.parametrize("name", ['", "state": "', '\\", "state": "done', "\\", '"', "a\\\\"])
def test_names_that_look_like_the_rest_of_a_line_stay_apart(tmp_path, name):
    """Records that a later one supersedes are found without being parsed."""
    with Manifest(tmp_path, (1, 1)) as manifest:
        manifest.append(Done, name + "1", **FINISHED)
        manifest.append(Started, name, settings="s", attempt=1)
        manifest.append(Done, name + "2", **FINISHED)
        manifest.append(Failed, name, settings="s", attempt=1, error='", "state": "done', exit_code=1)
        found = read_manifests(tmp_path)
    states = {key: type(one) for key, one in found.items()}
    assert states == {name + "1": Done, name: Failed, name + "2": Done}
    assert found == manifest.records


def test_records_are_on_the_disk_when_append_returns(tmp_path):
    with Manifest(tmp_path / "new/folder", (1, 1)) as manifest:
        manifest.append(Started, "a\u2028b.mp4", settings="s", attempt=1)
        manifest.append(Failed, "a\u2028b.mp4", settings="s", attempt=1, error="line\nbreak", exit_code=1)
        found = read_manifests(tmp_path / "new/folder")
        assert found == manifest.records
    assert found["a\u2028b.mp4"].error == "line\nbreak"
    assert (tmp_path / "new/folder/manifest.jsonl").read_bytes().count(b"\n") == 2


def test_a_line_is_as_it_always_was_and_takes_names_of_any_bytes(tmp_path, monkeypatch):
    """The path in an error need not be UTF-8; a manifest with it is read all the same."""
    monkeypatch.setattr(time, "time", lambda: 1.5)
    error = "cannot read w\udcff"
    with Manifest(tmp_path, (1, 1)) as manifest:
        manifest.append(Failed, "a.mp4", settings="s", attempt=2, error=error, exit_code=4)
        manifest.append(Started, "b.mp4", settings="s", attempt=1, pid=7)
    assert (tmp_path / "manifest.jsonl").read_text().splitlines() == [
        '{"version": 2, "name": "a.mp4", "state": "failed", "run": 1, "at": 1.5, '
        f'"pid": {os.getpid()}, "settings": "s", "attempt": 2, '
        '"error": "cannot read w\\udcff", "exit_code": 4}',
        '{"version": 2, "name": "b.mp4", "state": "started", "run": 1, "at": 1.5, '
        '"pid": 7, "settings": "s", "attempt": 1}',
    ]
    assert read_manifests(tmp_path)["a.mp4"].error == error


def test_the_latest_record_counts_in_whichever_shard_it_is(tmp_path):
    with Manifest(tmp_path, (2, 3)) as manifest:
        manifest.append(Done, "x.mp4", **FINISHED)
    with Manifest(tmp_path, (1, 1)) as manifest:
        assert isinstance(manifest.records["x.mp4"], Done)
        manifest.append(Failed, "x.mp4", settings="s", attempt=1, error="e", exit_code=1)
    assert isinstance(read_manifests(tmp_path)["x.mp4"], Failed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest-2-of-3.jsonl", "manifest.jsonl"]


@pytest.mark.parametrize("shards", [[(1, 1), (1, 1)], [(2, 3), (1, 1)], [(1, 1), (2, 3)]])
def test_the_order_of_records_is_that_of_runs_whatever_the_clock_says(tmp_path, monkeypatch, shards):
    """A laptop whose clock is set back between two runs: in one file, in a later and in an earlier one."""
    for clock, shard, digest in zip((2e9, 1e9), shards, ("before", "after"), strict=True):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        with Manifest(tmp_path, shard) as manifest:
            manifest.append(Done, "x.mp4", **{**FINISHED, "settings": digest})
    assert read_manifests(tmp_path)["x.mp4"].settings == "after"


@pytest.mark.parametrize("change", ["remove", "replace", "remove folder", "rename folder", "replace folder"])
def test_a_manifest_that_is_taken_away_stops_its_run(tmp_path, change):
    """And the run that then takes its place has the lock."""
    folder = tmp_path / "out"
    with Manifest(folder, (1, 1)) as manifest:
        manifest.append(Started, "a.mp4", settings="s", attempt=1)
        if change == "remove":
            manifest.path.unlink()
        elif change == "replace":
            (tmp_path / "other").write_bytes(manifest.path.read_bytes())
            (tmp_path / "other").rename(manifest.path)
        else:
            folder.rename(tmp_path / "moved")
            if change == "replace folder":
                shutil.copytree(tmp_path / "moved", folder)
        with pytest.raises(OutputError, match="was removed or replaced while this run worked"):
            manifest.append(Done, "a.mp4", **FINISHED)
        with Manifest(folder, (1, 1)) as later:
            later.append(Done, "b.mp4", **FINISHED)
            with pytest.raises(OutputError, match="another run works"), Manifest(folder, (1, 2)):
                pass
    assert "b.mp4" in read_manifests(folder)


@pytest.mark.parametrize("text", ["one line of a data set", '{"video": "a"}', '[1]\n{"video": "b"}'])
def test_a_file_of_that_name_that_is_not_ours_stays_as_it_is(tmp_path, text):
    (tmp_path / "manifest.jsonl").write_text(text)
    with pytest.raises(OutputError, match="is not a record of version"), Manifest(tmp_path, (1, 1)):
        pass
    assert (tmp_path / "manifest.jsonl").read_text() == text
    (tmp_path / "manifest.jsonl").unlink()
    (tmp_path / "manifest-of-mine.jsonl").write_text(text)
    with Manifest(tmp_path, (1, 1)) as manifest:
        assert manifest.records == {}


def test_a_named_pipe_in_the_place_of_a_manifest_is_no_reason_to_wait(tmp_path):
    os.mkfifo(tmp_path / "manifest.jsonl")
    with pytest.raises(OutputError, match="regular file"), Manifest(tmp_path, (1, 1)):
        pass


@pytest.mark.parametrize(("cut", "zeros"), [(1, 0), (20, 0), (-1, 0), (0, 4096), (60, 4096)])
def test_a_cut_off_last_line_is_no_record(tmp_path, cut, zeros):
    with Manifest(tmp_path, (1, 1)) as manifest:
        manifest.append(Done, "a.mp4", **FINISHED)
        manifest.append(Done, "b.mp4", **FINISHED)
    path = tmp_path / "manifest.jsonl"
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(first + b"\n" + second[:cut] + b"\0" * zeros)
    assert list(read_manifests(tmp_path)) == ["a.mp4"]
    with Manifest(tmp_path, (1, 1)) as manifest:
        manifest.append(Done, "c.mp4", **FINISHED)
    assert list(read_manifests(tmp_path)) == ["a.mp4", "c.mp4"]


@pytest.mark.parametrize(
    "line",
    ["no JSON", "[]", "{}", '{"name": "a.mp4"}', '{"version": 2}', "\x00" * 40, "[" * 100_000, "9" * 5000,
     json.dumps({**LINE, "state": "done"}), json.dumps({**LINE, "state": "lost"}),
     json.dumps({**LINE, **FINISHED, "state": "done", "steps": "50"}), json.dumps({**LINE, "version": 1}),
     *(json.dumps({**LINE, "run": run}) for run in ("1", 0, 1.5, True, 10**400, float("nan"))),
     *(json.dumps({**LINE, "run": 7}).replace("7", run) for run in ("1e400", "-Infinity"))],
)  # fmt: skip
def test_another_damaged_line_is_named(tmp_path, line):
    with Manifest(tmp_path, (1, 1)) as manifest:
        manifest.append(Done, "a.mp4", **FINISHED)
        with manifest.path.open("a") as file:
            file.write(line + "\n")
        with pytest.raises(OutputError, match="line 2 is not a record"):
            read_manifests(tmp_path)
    with pytest.raises(OutputError, match="line 2"), Manifest(tmp_path, (1, 1)):
        pass


def test_shards_are_disjoint_complete_and_stable():
    settings = ({"mode": "fast"}, {"mode": "slow"})
    everything = items(11, seeds=3, settings=settings)
    parts = [list(in_shard(everything, (part, 4))) for part in (1, 2, 3, 4)]
    assert sorted(item.name for part in parts for item in part) == sorted(item.name for item in everything)
    for part in parts:
        assert sum(item.settings.mode == "fast" for item in part) * 2 == len(part), "slow ones are shared out"
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * 3
    longer = items(20, seeds=3, settings=settings)
    for number, part in enumerate(parts, 1):
        assert part == list(in_shard(longer, (number, 4)))[: len(part)]


@pytest.mark.parametrize("text", ["0/1", "2/1", "1", "1/0", "a/b", "1/2/3", "-1/2", "/", "1/99999999"])
def test_shards_that_are_none(text):
    with pytest.raises(UsageError, match="--shard expects"):
        read_shard(text)


def test_fingerprints_tell_videos_apart_and_nothing_else():
    def one(**options):
        return items(1, layers=[Layer("test", options)])[0]

    plain = one()
    same = [one(output_dir="elsewhere"), one(overwrite=True), one(seed=0), one(mode="fast")]
    others = [one(steps=49), one(seed=1), one(mode="slow"), one(baseline=True), one(weights="w"), items(2)[1]]
    assert {item.fingerprint() for item in same} == {plain.fingerprint()}
    assert len({item.fingerprint() for item in [plain, *others]}) == 1 + len(others)
    # A report has the values of the plan, by which a finished video is known again.
    from navicache_cli.batch.items import fingerprint

    plan = plain.plan(Path("videos"), overwrite=True)
    assert fingerprint(json.loads(json.dumps(plan.values()))) == plain.fingerprint()


def test_a_method_that_ignores_an_option_makes_the_same_video_with_any_value_of_it():
    options = [{"mode": "off", "threshold": threshold} for threshold in (0.1, 0.2)]
    one, other = (items(1, layers=[Layer("test", chosen)])[0] for chosen in options)
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    ("seeds", "settings"), [(99_999_999, 1), (MOST_VIDEOS // 4 + 1, 2), (1, MOST_VIDEOS)]
)
def test_more_videos_than_anybody_means_are_refused_at_once(seeds, settings):
    before = time.process_time()
    with pytest.raises(UsageError, match=r"at most 1,000,000 videos in one batch, found \d") as raised:
        items(2, seeds=seeds, settings=[{}] * settings)
    assert raised.value.hint.startswith("--seeds ")
    assert time.process_time() - before < 5


def test_many_items_are_planned_quickly():
    before = time.process_time()
    assert len(items(20_000, seeds=5)) == 100_000
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("a cat's \"tail\"? 100%!", "a cat's \"tail\"? 100%!-3.mp4"), ("-o x", "-o x-3.mp4"),
     ("{n}", "{n}-3.mp4"), ("ünï 猫", "ünï 猫-3.mp4")],
)  # fmt: skip
def test_names_keep_prompts_as_they_are(prompt, name):
    assert make_name("{prompt}-{n}.mp4", {"prompt": prompt, "n": 3}, "line 1") == name


@pytest.mark.parametrize(
    "prompt", ["a/b", "a\\b", "..", "a\nb", "a\x00b", "a\x7fb", "/etc/passwd", "x" * 300, ".x"]
)
def test_names_are_never_paths(prompt):
    with pytest.raises(UsageError, match="line 1"):
        make_name("{prompt}-{n}.mp4", {"prompt": prompt, "n": 3}, "line 1")
