"""`navicache schedule`, and the commands that follow what it wrote."""

from __future__ import annotations

import json

import pytest

from navicache_cli.errors import OutputError, UsageError
from navicache_cli.report.schedules import read_schedules
from tests.program import invoke

STEPS = "10"
PROMPTS = ("a red circle moving right", "a blue square growing")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of schedules, from two recordings."""
    folder = tmp_path_factory.mktemp("schedule")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    path = folder / "mine.yaml"
    said = invoke(
        "schedule", "--prompts", folder / "prompts.txt", "--steps", STEPS, "--speedup", "1.5,2,5", "-o", path,
    )  # fmt: skip
    assert "2x  #" in said
    assert str(path) in said
    return path


def test_a_file_says_what_it_was_made_with(made):
    found = read_schedules(made)
    assert (found.model, found.task, found.name, found.steps) == ("tiny", "t2v", "tiny t2v", 10)
    assert (found.solver, found.shift, found.guidance) == ("unipc", 5.0, 4.0)
    assert found.recordings == len(PROMPTS)
    assert [one.computed.count("#") for one in found.schedules] == [7, 5, 2]
    errors = [one.error for one in found.schedules]
    assert errors == sorted(errors)
    assert 0 < errors[0] < errors[2]


@pytest.mark.shows("schedule", "tiny t2v")
def test_generate_follows_it(made, tmp_path):
    video = tmp_path / "video.mp4"
    printed = invoke(
        "generate", "--schedule", made, "--speedup", 2, "--steps", STEPS, "--baseline", "-o", video, "--json"
    )
    report = json.loads(printed)
    strip = "".join("#" if step["computed"] else "." for step in report["steps"])
    assert strip == read_schedules(made).schedules[1].computed
    assert report["plan"]["schedule"] == {"value": str(made), "source": "--schedule"}
    assert report["plan"]["predictor"] == {"value": "calibrated", "source": "schedule"}
    assert 0 < report["totals"]["predicted_error"]["relative"] < 1
    assert report["baseline"]["psnr"] > 20
    assert report["notes"][0].startswith("10 steps are few")


def test_generate_warns_of_other_guidance(made, tmp_path):
    report = json.loads(
        invoke(
            "generate", "--schedule", made, "--speedup", 5, "--steps", STEPS, "--guidance", 6, "-o",
            tmp_path / "video.mp4", "--json",
        )
    )  # fmt: skip
    assert any("made with guidance 4, this video has 6" in note for note in report["notes"])
    assert report["totals"]["computed_steps"] == 2


def test_batch_and_compare_follow_it(made, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(f"prompt,schedule,speedup\n{PROMPTS[0]},{made},2\n{PROMPTS[0]},,2\n")
    invoke("batch", rows, "--steps", STEPS, "--output-dir", tmp_path / "batch", "--quiet")
    reports = [json.loads(path.read_text()) for path in sorted((tmp_path / "batch/reports").glob("*.json"))]
    strips = ["".join("#" if step["computed"] else "." for step in one["steps"]) for one in reports]
    assert strips[0] == read_schedules(made).schedules[1].computed
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"scheduled 2x: {{method: navicache, schedule: {made}, speedup: 2}}\n")
    compared = json.loads(
        invoke(
            "compare", "--settings", settings, "--prompt", PROMPTS[0], "--steps", STEPS, "--no-lpips",
            "--no-page", "--output-dir", tmp_path / "compare", "--json",
        )
    )  # fmt: skip
    (summary,) = [one for one in compared["settings"] if one["name"] == "scheduled 2x"]
    assert summary["compute_ratio"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("-o", "schedule.json"), UsageError, "ending in .yaml"),
        (("--speedup", "none"), UsageError, "speedup expects a number, found 'none'"),
        (("--speedup", "0.5"), UsageError, "1 or more"),
        (("--speedup", "9"), UsageError, "at least 2 of 10 steps"),
        (("--speedup", ","), UsageError, "1 to 20 numbers"),
        (("--prompts", "none.txt"), UsageError, "cannot read the prompts"),
        ((), OutputError, "exists already"),
    ],
)
def test_what_cannot_be_is_refused(made, arguments, kind, said):
    with pytest.raises(kind, match=said) as caught:
        invoke("schedule", "--steps", STEPS, "-o", made, *arguments)
    assert caught.value.hint


def test_it_is_refused_at_other_steps(made):
    with pytest.raises(UsageError, match="for steps 50, found one for 10"):
        invoke("generate", "--schedule", made, "--speedup", 2)
