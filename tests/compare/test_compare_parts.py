"""The parts of a comparison by themselves: keys, order, sweeps, intervals, runners of others."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from navicache_cli.compare.jobs import cell_key, list_jobs, plan_for
from navicache_cli.compare.runners import Outcome
from navicache_cli.compare.running import Work
from navicache_cli.compare.settings import BASELINE, Setting, Sweep, choose_settings, parse_sweep
from navicache_cli.compare.store import Cell, Store
from navicache_cli.compare.summary import CellResult, cell_result, confidence_interval, setting_result
from navicache_cli.compare.table import settings_table
from navicache_cli.errors import SiteError
from navicache_cli.plan.layers import Layer
from navicache_cli.report.report import ModelIdentity, Totals
from navicache_cli.report.speed import make_timings

IDENTITY = ModelIdentity("tiny t2v", "somewhere", "1", "sha256:00")
MODES = ["fast", "mid", "slow"]
FAST = Setting("navicache fast", "navicache", {"method": "navicache", "mode": "fast"})


def key(
    setting: Setting = FAST,
    identity: ModelIdentity = IDENTITY,
    baseline: str = "b",
    code: str = "c",
    **options,
) -> str:
    seed = options.pop("seed", 0)
    plan = plan_for([Layer("test", options)], setting, options.pop("prompt", "a red circle"), seed)
    return cell_key(plan, setting, identity, code, baseline)


def test_a_cell_is_known_by_what_changes_its_video():
    same = key()
    changed = [
        key(seed=1),
        key(prompt="a blue star"),
        key(steps=40),
        key(baseline="c"),
        key(code="d"),
        key(identity=structs.replace(IDENTITY, weights_digest="sha256:01")),
        key(identity=structs.replace(IDENTITY, commit="2")),
        key(replace(FAST, values={"method": "navicache", "mode": "slow"})),
        key(replace(FAST, runner="other")),
        key(replace(FAST, arguments={"interval": 3})),
    ]
    assert len({same, *changed}) == 1 + len(changed)


def test_where_the_work_is_done_counts_where_it_changes_the_seconds():
    plan = plan_for([], FAST, "a red circle", 0)
    known = [cell_key(one, FAST, IDENTITY, "c", "b") for one in (plan, replace(plan, offload=True))]
    assert known[0] != known[1]


def test_a_cell_is_not_known_by_what_changes_nothing():
    assert key() == key(output_dir="elsewhere", overwrite=True, weights="moved/elsewhere")
    values = {"method": "navicache", "mode": "slow", "threshold": 0.07}
    named = replace(FAST, name="another name", values=values)
    assert key(named) == key(), "a mode is the name of a threshold"
    held = replace(FAST, values={"method": "easycache", "mode": "fast"})
    assert key(held) == key(held, estimator="dual"), "easycache has no estimator to choose"
    assert key(estimator="dual") != key()
    assert key(BASELINE) == key(BASELINE, align_steps=3, estimator="dual"), "the baseline has no cache"


def test_a_picture_counts_by_its_content(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    plan = plan_for([], FAST, "a red circle", 0)
    with_picture = replace(plan, image=str(picture))
    first = cell_key(with_picture, FAST, IDENTITY, "c", "b")
    picture.write_bytes(b"two")
    second = cell_key(with_picture, FAST, IDENTITY, "c", "b")
    assert len({first, second, cell_key(plan, FAST, IDENTITY, "c", "b")}) == 3


def test_a_file_of_ratios_counts_by_its_content(tmp_path):
    ratios = tmp_path / "ratios.json"
    held = Setting("magcache", "magcache", {"method": "magcache", "mode": "fast"})
    known = set()
    for ratio in (0.9, 0.8):
        ratios.write_text(json.dumps({"ratios": [ratio] * 50}))
        known.add(key(held, ratios=str(ratios)))
    assert len(known) == 2


def test_settings_take_turns_after_their_baseline():
    settings = choose_settings(["easycache"], None, [], 50, MODES)
    identities = {setting.runner: IDENTITY for setting in settings}
    jobs = list_jobs([], settings, ["a red circle", "a blue star"], [0, 1], identities, "c")
    blocks = [jobs[i : i + 4] for i in range(0, len(jobs), 4)]
    assert len(blocks) == 4
    for block in blocks:
        assert block[0].setting is BASELINE
        assert {job.baseline for job in block[1:]} == {block[0].key}
        assert {job.setting.name for job in block[1:]} == {setting.name for setting in settings}
        assert len({(job.prompt, job.seed) for job in block}) == 1
    assert [block[1].setting.name for block in blocks[:3]] == [setting.name for setting in settings]


def test_sweeps_are_even_and_tidy():
    expected = Sweep("navicache", "threshold", (0.02, 0.08, 0.14, 0.2))
    assert parse_sweep("navicache.threshold=0.02:0.2:4") == expected
    assert parse_sweep("easycache.align-steps=2:5:9").values == (2, 3, 4, 5)
    assert all(isinstance(value, int) for value in parse_sweep("easycache.align-steps=2:5:9").values)
    assert parse_sweep("fewer-steps.steps=30:20:2").values == (30, 20)
    assert parse_sweep("navicache.threshold=0.1:0.9:1").values == (0.1,)


def names(*arguments) -> list[str]:
    return [setting.name for setting in choose_settings(*arguments, 50, MODES)]


def test_which_settings_are_compared():
    sweep = parse_sweep("navicache.threshold=0.1:0.2:2")
    swept = ["navicache threshold 0.1", "navicache threshold 0.2"]
    by_mode = [f"easycache {mode}" for mode in MODES]
    assert names(["easycache"], None, []) == by_mode
    assert names(["easycache"], ["mid"], []) == ["easycache mid"]
    assert names(None, None, [sweep]) == swept, "only what is swept"
    assert names(["easycache"], None, [sweep]) == by_mode + swept
    assert names(["navicache"], ["slow"], [sweep]) == ["navicache slow", *swept], "modes too, if named"
    assert names(["fewer-steps"], ["mid"], []) == ["fewer-steps 33", "fewer-steps 25", "fewer-steps 20"]
    everything = names(None, None, [])
    assert {"navicache fast", "easycache slow", "fewer-steps 25"} <= set(everything)
    assert len(set(everything)) == len(everything)


def test_interval_of_independent_values_is_the_usual_one():
    values = np.random.default_rng(1).normal(30, 2, 400)
    low, high = confidence_interval({i: [value] for i, value in enumerate(values)})
    half = 1.96 * statistics.stdev(values) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert confidence_interval({i: [value] for i, value in enumerate(values)}) == (low, high), "seeded"


def test_seeds_of_one_prompt_are_not_independent():
    """Two seeds with one value each say no more than one of them."""
    values = [30.0, 34.0, 41.0, 29.0]
    once = confidence_interval({i: [value] for i, value in enumerate(values)})
    assert confidence_interval({i: [value] * 5 for i, value in enumerate(values)}) == pytest.approx(once)
    low, high = confidence_interval({0: [30.0, 34.0, 41.0]})
    assert 30 <= low < high <= 41, "with a single prompt the seeds are drawn"
    assert confidence_interval({0: [30.0]}) == (None, None)


class Noise:
    """A runner of another implementation: gray for the baseline, gray with noise for its settings."""

    identity = IDENTITY

    def __init__(self) -> None:
        self.steps_asked: list[int] = []

    def run(self, plan, setting):
        self.steps_asked.append(plan.steps)
        noise = setting.arguments.get("noise", 0)
        if noise > 100:
            raise SiteError("too much noise for this model", "less noise")
        frames = np.random.default_rng(plan.seed).integers(128 - noise, 129 + noise, (2, 16, 16, 3))
        work = setting.arguments.get("work", 1.0)
        totals = Totals(plan.steps, plan.steps, 0, 0.0, work, plan.steps, 0, 0, 0, 1.0)
        return Outcome(frames.astype(np.uint8), {"text": 0.0, "denoise": work, "decode": 0.0}, [], totals)


def other(noise: int, **changes) -> Setting:
    arguments = {"noise": noise, "work": 0.5}
    return Setting(f"other {noise}", "other", {"mode": "off", "method": "off"}, "other", arguments, **changes)


def test_another_implementation_is_a_runner(tmp_path):
    settings = [other(20), other(200, optional=True)]
    runners = {"navicache": Noise(), "other": Noise()}
    jobs = list_jobs([], settings, ["a red circle"], [0, 1], dict.fromkeys(runners, IDENTITY), "c")
    ran = []
    with Store(tmp_path) as store:
        work = Work(runners, store, "today")
        cells = work.run(jobs, lambda job, cell, now: ran.append((job.setting.name, now)))
    assert ran == [("off", True), ("other 20", True)] * 2
    assert work.left_out == {"other 200": "too much noise for this model"}
    cell = cells[jobs[1].key]
    assert cell.report.baseline.speedup == 2
    assert 20 < cell.fidelity["psnr"].mean < 40
    # One short warm-up each, then the cells.
    assert runners["navicache"].steps_asked == [4, 50, 50]
    assert runners["other"].steps_asked[:2] == [4, 50]
    ran.clear()
    with Store(tmp_path) as store:
        again = Work(runners, store, "tomorrow").run(jobs, lambda job, cell, now: ran.append(now))
    assert ran == [False] * 4
    assert again == cells


def sped_up(work: float, uncached: float, cached: float) -> CellResult:
    """A cell of so much work and so many seconds of processor time."""

    def cell(work: float, cpu: float) -> Cell:
        timings = make_timings({"text": 0, "denoise": 9.0, "decode": 0}, {"denoise": cpu})
        totals = Totals(50, 17, 33, 0.66, work, 0, 0, 0, 0, 1.0)
        return Cell("key", "today", None, SimpleNamespace(totals=totals, timings_s=timings))

    (job,) = list_jobs([], [FAST], ["a red circle"], [0], {"navicache": IDENTITY}, "c")[1:]
    return cell_result(job, cell(work, cached), cell(1.0, uncached))


def test_a_speedup_beyond_the_saved_work_is_marked():
    """34 % of the work cannot be 15.81 times as fast."""
    fine, wrong = sped_up(0.34, 3.0, 1.05), sped_up(0.34, 15.81, 1.0)
    assert [fine.speedup, wrong.speedup] == pytest.approx([3 / 1.05, 15.81]), "9 s each by the wall clock"
    assert [fine.beyond_bound, wrong.beyond_bound] == [False, True]
    for cells, shown in (([fine, fine, wrong], "2.86x"), ([fine, wrong, wrong], "15.81x*")):
        setting = setting_result(FAST, cells)
        table = settings_table(SimpleNamespace(settings=[setting]))
        assert list(table.columns[3].cells) == [shown]


def test_a_named_setting_that_does_not_fit_is_an_error(tmp_path):
    runners = {"navicache": Noise(), "other": Noise()}
    jobs = list_jobs([], [other(200)], ["a red circle"], [0], dict.fromkeys(runners, IDENTITY), "c")
    with Store(tmp_path) as store, pytest.raises(SiteError, match="too much noise"):
        Work(runners, store, "today").run(jobs, lambda *_: None)
