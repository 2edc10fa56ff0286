"""scripts/comparisons.py and scripts/judge.py: what stands where, and against what."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import fmean

import pytest

from backends.tiny.conditions import CONDITIONS, MAIN, PRESET, Condition
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.world import describe
from navicache_cli.errors import OutputError, UsageError
from navicache_cli.plan.plan import resolve
from scripts import judge, tune_peers
from scripts.comparisons import Row, against, interval, joined, name_and_budget, peers_of, table
from tests.program import SCRIPTS, invoke

PROMPT = "a red circle moving right on a dark striped background"


def row(line: str, *psnr: float, budget: float = 2.0, work: float = 0.5) -> Row:
    return Row(line, budget, work, tuple((value,) for value in psnr))


def test_a_name_ends_in_its_budget():
    assert name_and_budget("teacache 1.5x") == ("teacache", 1.5)
    assert name_and_budget("taylorseer, longer start 3x") == ("taylorseer, longer start", 3)
    assert name_and_budget("pab, published setting") == ("pab, published setting", 0)
    assert name_and_budget("diffusers:off") == ("diffusers:off", 0)


def test_peers_take_about_the_same_work():
    ours = row("calibrated", 50, 40)
    low, high = row("teacache", 30, 20), row("seacache", 45, 10)
    others = [
        row("schedule, searched", 60, 60),
        row("pab", 48, 48, work=0.57),
        row("fora", 48, 48, budget=1.5),
    ]
    assert peers_of(ours, [ours, low, high, *others]) == [high, low]


def test_ours_against_the_best_in_the_mean_and_the_highest_worst():
    rows = [row("calibrated", 50, 40), row("teacache", 41, 45), row("seacache", 60, 30)]
    (text,) = against(rows)
    assert "seacache 45.0 (30.0), +0.0 dB (-10.0 to +10.0)" in text
    assert "above all others at once in 0 of 2" in text
    assert "highest worst of another: teacache 41.0" in text


def test_the_interval_draws_whole_prompts():
    alike = [(10.0, 10.0), (20.0, 20.0)]
    assert interval(alike) == (10, 20)
    low, high = interval([(value,) for value in range(100)])
    assert low < fmean(range(100)) < high
    assert high - low == pytest.approx(2 * 1.96 * 28.9 / 10, rel=0.1)


def test_the_table_is_sorted_and_leaves_out_what_was_not_run():
    lines = table([row("b", 30), row("a", 40), row("a", 20, budget=3, work=0.33), row("c", 50)]).splitlines()
    assert lines[0].endswith("| 2× | 3× |")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| c", "| b", "| a"]
    assert lines[4].endswith("| 40.0 ± 0.0 (40.0); 50% | 20.0 ± 0.0 (20.0); 33% |")
    assert lines[3].endswith("| — |")


def test_conditions_are_named_and_can_be_run():
    assert {MAIN.name, PRESET.name} <= set(CONDITIONS)
    assert len({str(asdict(one)) for one in CONDITIONS.values()}) == len(CONDITIONS)
    defaults = resolve([]).values()
    assert {name: defaults[name] for name in PRESET.options} == PRESET.options
    assert Condition(0.25, 4, 30, "dpm++").name == "0.25-4-30-dpm++"


def test_the_full_table_is_taken_under_the_main_condition():
    script = (SCRIPTS / "full_table.sh").read_text()
    assert f'[main]="--shift {MAIN.shift:g} --guidance {MAIN.guidance:g}"' in script
    assert (MAIN.steps, MAIN.solver) == (PRESET.steps, PRESET.solver)


def test_peers_of_a_condition_take_the_work(tmp_path):
    settings = judge.untuned_peers(Condition(1, 8, 30), [2, 3])
    assert settings["fewer-steps 3x"]["steps"] == 10
    assert settings["taylorseer 2x"] == {"method": "taylorseer", "interval": 2, "align_steps": 1}
    assert settings["taylorseer, longer start 2x"]["align_steps"] > 5


def test_a_line_of_the_judge_shows_what_stands_where():
    rows = [
        row("teacache", 41, 45),
        row("pab", 60, 70, budget=0, work=0.8),
        row("seacache", 60, 30),
        row("calibrated", 50, 40),
    ]
    text = judge.shown(Condition(1, 8), rows, 2, ["teacache", "pab", "hold"])
    assert text == "| 1-8, 2× | 43.0 (41.0) | 65.0 (60.0); 80% | — | 45.0 (40.0) +0.0 (-1.0) |"


def test_prompts_of_the_judge_were_not_tuned_on():
    of_judge = {describe(scene) for scene in held_out_scenes(32, judge.SEED)}
    tuned_on = {describe(scene) for scene in held_out_scenes(8, tune_peers.SEED)}
    assert not of_judge & tuned_on


def compared(folder, settings, prompts, **options) -> None:
    (folder.parent / "settings.yaml").write_text(json.dumps(settings))
    (folder.parent / "prompts.txt").write_text("\n".join(prompts))
    invoke(
        "compare", "--settings", folder.parent / "settings.yaml", "--prompts", folder.parent / "prompts.txt",
        "--steps", 4, "--output-dir", folder, *(f"--{name}={value}" for name, value in options.items()),
    )  # fmt: skip


def test_comparisons_of_the_same_videos_are_joined_and_others_refused(tmp_path):
    peers, ours, other = tmp_path / "peers", tmp_path / "ours", tmp_path / "other"
    fewer = {"fewer-steps 2x": {"method": "fewer-steps", "steps": 2}}
    mine = {"calibrated 2x": {"method": "taylorseer", "interval": 2, "align_steps": 1}}
    compared(peers, fewer, [PROMPT], seeds=2)
    compared(ours, mine, [PROMPT], seeds=2)
    rows = joined([peers, ours])
    assert [(one.line, one.budget, one.work) for one in rows] == [
        ("fewer-steps", 2, 0.5),
        ("calibrated", 2, 0.5),
    ]
    assert [len(one.videos) for one in rows] == [2, 2]
    document = json.loads((peers / "compare.json").read_text())
    assert rows[0].mean == pytest.approx(document["settings"][1]["psnr"]["mean"])
    compared(other, fewer, [PROMPT], seeds=2, shift=2)
    with pytest.raises(UsageError, match="same prompts, seeds and plan"):
        joined([peers, other])
    with pytest.raises(OutputError, match="cannot read"):
        joined([tmp_path / "nothing"])


def test_complete_peers_are_kept_as_they_are(tmp_path):
    assert not judge.is_complete(tmp_path, {"navicache 2x"}, [PROMPT])
    document = {"settings": [{"name": "navicache 2x"}], "prompts": [PROMPT]}
    (tmp_path / "compare.json").write_text(json.dumps(document))
    assert judge.is_complete(tmp_path, {"navicache 2x"}, [PROMPT])
    assert not judge.is_complete(tmp_path, {"navicache 2x", "hold 2x"}, [PROMPT])
    assert not judge.is_complete(tmp_path, {"navicache 2x"}, [PROMPT, PROMPT])
