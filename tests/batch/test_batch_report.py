"""`navicache batch-report`: what it adds up, what it says of gaps, and its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from navicache_cli.batch.page import page_text
from navicache_cli.batch.summary import name_settings, summarise
from navicache_cli.errors import OutputError
from navicache_cli.media.metrics import FROM_FRAMES
from navicache_cli.report.speed import BEYOND, OF_CPU
from tests.batches import SHORT, digests, records, run
from tests.browsing import Look, assert_data_stays_in_its_element, assert_names_no_other_file
from tests.program import invoke, report_in

HOSTILE = (
    "a blue ring moving up </script><script>window.stolen = 1</script> "
    '<img src=x onerror="window.stolen = 1"> &amp;'
)
ROWS = [
    {"prompt": "a red circle moving right", "output": "plain #1 100%.mp4"},
    {"prompt": HOSTILE, "output": "folder/hostile.mp4"},
    {"prompt": "a green star still", "output": "off.mp4", "mode": "off", "method": "off"},
    {"prompt": "a <b>hippopotamus</b>", "output": "refused.mp4"},
]
MADE = sorted(row["output"] for row in ROWS[:3])


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> Path:
    """A batch with baselines, of which one video failed, and its report. Read only."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    done = run(folder, "batch", "rows.jsonl", *SHORT, "--baseline", "--output-dir", "out", "-q")
    assert done.returncode == 8, done.stderr
    before = digests(folder / "out")
    done = run(folder, "batch-report", "out", "--json")
    assert done.returncode == 0, done.stderr
    after = digests(folder / "out")
    assert sorted(set(after) - set(before)) == ["batch-report.json", "index.html"]
    assert before.items() <= after.items(), "nothing else is touched"
    assert json.loads(done.stdout) == json.loads((folder / "out/batch-report.json").read_text())
    return folder / "out"


@pytest.fixture
def copy(batch, tmp_path) -> Path:
    return Path(shutil.copytree(batch, tmp_path / "copy"))


def test_figures_are_those_of_the_reports(batch):
    document = json.loads((batch / "batch-report.json").read_text())
    reports = {name: report_in(batch / "reports" / name.replace(".mp4", ".json")) for name in MADE}
    assert [video["name"] for video in document["videos"]] == MADE
    for video in document["videos"]:
        report = reports[video["name"]]
        assert video["skip_ratio"] == report["totals"]["skip_ratio"]
        assert video["denoise_s"] == report["timings_s"]["denoise"]
        assert [video[key] for key in ("speedup", *FROM_FRAMES)] == [
            report["baseline"][key] for key in ("speedup", *FROM_FRAMES)
        ]
        assert video["prompt"] == report["plan"]["prompt"]["value"]
        assert (batch / video["video"]).is_file()
        assert (batch / video["report"]).is_file()
    settings = {setting["name"]: setting for setting in document["settings"]}
    assert sorted(settings) == ["navicache fast", "off"]
    fast = settings["navicache fast"]
    assert fast["videos"] == 2
    assert fast["skip_frequency"] == [0, 0, 1, 0]
    quarter = dict.fromkeys(("mean", "least", "low", "median", "high", "most"), 0.25)
    assert fast["skip_ratio"] == {"videos": 2, **quarter}
    psnrs = [reports[name]["baseline"]["psnr"] for name in MADE if name != "off.mp4"]
    assert (fast["psnr"]["least"], fast["psnr"]["most"]) == (min(psnrs), max(psnrs))
    assert fast["psnr"]["mean"] == pytest.approx(np.mean(psnrs))
    assert settings["off"]["psnr"]["mean"] == 100, "uncached against uncached"
    assert document["worst"][-1] == "off.mp4"
    times = {video["name"]: video["denoise_s"] for video in document["videos"]}
    assert document["slowest"] == sorted(MADE, key=lambda name: -times[name])
    assert sorted(document["most_skipped"]) == sorted(set(MADE) - {"off.mp4"})
    assert document["states"] == {"done": 3, "failed": 1}
    assert [one["name"] for one in document["failed"]] == ["refused.mp4"]
    assert document["notes"][0] == OF_CPU


def test_the_table_names_what_to_look_at(batch):
    shown = invoke("batch-report", batch)
    document = json.loads((batch / "batch-report.json").read_text())
    assert "navicache fast" in shown
    assert f"slowest: videos/{document['slowest'][0]}" in shown
    assert f"lowest PSNR: videos/{document['worst'][0]}" in shown
    assert "failed: refused.mp4: rows.jsonl line 4" in shown
    assert "25%-25%" in shown
    assert str(batch / "index.html") in shown


def speedups_of(folder: Path, speedup: float) -> None:
    """Let every video's measured speedup be another."""
    for name in MADE:
        path = folder / "reports" / name.replace(".mp4", ".json")
        report = json.loads(path.read_text())
        report["baseline"]["speedup"] = speedup
        path.write_text(json.dumps(report))


@pytest.mark.parametrize(("speedup", "marked"), [(1.39, False), (15.81, True)])
def test_a_speedup_beyond_its_bound_is_marked(copy, speedup, marked):
    """Three of four steps allow 1.33; of `off` every step ran, and it is beyond in both cases."""
    speedups_of(copy, speedup)
    summary = summarise(copy)
    found = {setting.name: setting.beyond_bound for setting in summary.settings}
    assert found == {"navicache fast": 2 * marked, "off": 1}
    assert [video.beyond_bound for video in summary.videos if video.name != "off.mp4"] == [marked] * 2
    shown = invoke("batch-report", copy)
    assert (f"{speedup}x*" if marked else f"{speedup}x ") in shown
    assert BEYOND in summary.notes


def test_gaps_are_told(copy):
    """A report that is gone, one of an older run without a baseline, a name that leads out of the folder."""
    (copy / "reports/off.json").unlink()
    path = copy / "reports/folder/hostile.json"
    report = json.loads(path.read_text())
    del report["baseline"]
    path.write_text(json.dumps(report))
    record = next(one for one in records(copy) if one["state"] == "done")
    with (copy / "manifest.jsonl").open("a") as file:
        file.write(json.dumps({**record, "name": "../../outside.mp4"}) + "\n")
        file.write(json.dumps({**record, "name": "begun.mp4", "state": "started"}) + "\n")
    summary = summarise(copy)
    assert [video.name for video in summary.videos] == ["folder/hostile.mp4", "plain #1 100%.mp4"]
    assert summary.worst == ["plain #1 100%.mp4"]
    assert summary.settings[0].fidelity["psnr"].videos == 1
    assert summary.states == {"done": 4, "failed": 1, "started": 1}
    told = "\n".join(summary.notes)
    assert "2 finished videos are left out: no readable report, ../../outside.mp4" in told
    assert "1 of 2 were not" in told
    assert "1 videos were started and are not finished" in told


def test_a_report_from_before_a_metric_was_added(copy):
    path = copy / "reports/folder/hostile.json"
    report = json.loads(path.read_text())
    added = set(FROM_FRAMES) - {"psnr", "ssim"}
    for key in added:
        del report["baseline"][key]
    path.write_text(json.dumps(report))
    summary = summarise(copy)
    (video,) = [one for one in summary.videos if one.name == "folder/hostile.mp4"]
    fast = summary.settings[0].fidelity
    for key in FROM_FRAMES:
        assert (video.fidelity[key] is None) == (key in added)
        assert fast[key].videos == (1 if key in added else 2)
    invoke("batch-report", copy)


def test_no_folder_of_a_batch(tmp_path, copy):
    with pytest.raises(OutputError, match="has no manifest"):
        invoke("batch-report", tmp_path / "none")
    shutil.rmtree(copy / "reports")
    with pytest.raises(OutputError, match="expected finished videos"):
        invoke("batch-report", copy)


def options(**changes: str) -> tuple[tuple[str, str], ...]:
    base = {"method": "navicache", "mode": "fast", "threshold": "0.07", "steps": "50"}
    return tuple({**base, **changes}.items())


def test_settings_are_named_by_what_sets_them_apart():
    off = tuple({"method": "off", "mode": "off", "steps": "50"}.items())
    few = options(steps="25")
    found = [options(), few, options(), options(mode="slow", threshold="0.04"), off]
    names = name_settings(found)
    assert [names[one] for one in found] == [
        "navicache fast, steps 50", "navicache fast, steps 25", "navicache fast, steps 50",
        "navicache slow", "off",
    ]  # fmt: skip


# Each an option of which two values make two settings, and the name of the second one.
APART = [
    ({"guidance": 3.0}, "guidance 3.0"), ({"solver": "euler"}, "solver euler"), ({"shift": 2.0}, "shift 2.0"),
    ({"frames": 33}, "frames 33"), ({"fps": 12}, "fps 12"), ({"max_error": 0.25}, "max error 0.25"),
    ({"weights": "w"}, "weights w"), ({"estimator": "dual"}, "estimator dual"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), APART, ids=[told for _, told in APART])
def test_what_belongs_to_a_setting_follows_from_the_plan(copy, changes, told):
    path = copy / "reports/folder/hostile.json"
    report = json.loads(path.read_text())
    for key, value in changes.items():
        assert report["plan"][key]["value"] != value
        report["plan"][key]["value"] = value
    path.write_text(json.dumps(report))
    summary = summarise(copy)
    names = [setting.name for setting in summary.settings]
    assert names[-1] == "off"
    assert f"navicache fast, {told}" in names
    assert [setting.videos for setting in summary.settings] == [1, 1, 1]
    assert {video.name: video.setting for video in summary.videos}["folder/hostile.mp4"].endswith(told)


@pytest.mark.parametrize(
    "changes", [{"seed": 5}, {"negative_prompt": "x"}, {"baseline": False}, {"repo": "r"}]
)
def test_what_does_not_belong_to_a_setting(copy, changes):
    path = copy / "reports/folder/hostile.json"
    report = json.loads(path.read_text())
    for key, value in changes.items():
        report["plan"][key]["value"] = value
    path.write_text(json.dumps(report))
    assert [setting.name for setting in summarise(copy).settings] == ["navicache fast", "off"]


def test_intervals_of_taylorseer_are_settings(tmp_path):
    rows = [{"prompt": "a red circle", "interval": interval} for interval in (2, 3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = ("--steps", "6", "--method", "taylorseer", "--name", "{row}.mp4", "--output-dir", "out", "-q")
    done = run(tmp_path, "batch", "rows.jsonl", *made)
    assert done.returncode == 0, done.stderr
    found = [setting.name for setting in summarise(tmp_path / "out").settings]
    assert found == ["taylorseer fast, interval 2", "taylorseer fast, interval 3"]


@pytest.mark.parametrize("name", ["batch-report.json", "index.html"])
def test_a_document_or_page_of_somebody_else_is_not_replaced(copy, name):
    invoke("batch-report", copy)
    invoke("batch-report", copy)
    (copy / name).write_text("<h1>My own page</h1>")
    before = digests(copy)
    with pytest.raises(OutputError, match=f"{name} exists already"):
        invoke("batch-report", copy)
    assert digests(copy) == before, "nothing was written"


def test_no_text_can_leave_its_element():
    assert_data_stays_in_its_element(page_text, HOSTILE)
    assert_names_no_other_file(page_text({"prompts": [HOSTILE]}))


LOADED = "() => [...document.querySelectorAll('video')].every((one) => one.readyState >= 1)"


@pytest.mark.parametrize("width", [320, 1100])
def test_the_page_in_a_browser(batch, browser, width):
    look = Look(browser, batch, LOADED, viewport={"width": width, "height": 900})
    page = look.page
    assert look.complaints == []
    assert all(url.startswith(("file://", "data:")) for url in look.requests)
    assert page.evaluate("window.stolen") is None
    document = json.loads((batch / "batch-report.json").read_text())
    prompts = {video["name"]: video["prompt"] for video in document["videos"]}
    assert page.locator("#grid figure").count() == 3
    for shown, name in zip(page.locator("#grid figcaption").all(), document["slowest"], strict=True):
        assert shown.text_content().startswith(prompts[name])
    assert page.locator("#settings tbody tr").count() == 2
    assert page.locator("#failed tbody td").text_content() == document["failed"][0]["error"]
    assert page.locator("#frequency svg").count() == 2
    label = page.locator("#frequency svg").first.get_attribute("aria-label")
    assert label == "navicache fast: step 1: 0 %; step 2: 0 %; step 3: 100 %; step 4: 0 %"
    page.get_by_role("button", name="Lowest PSNR").click()
    first = page.locator("#grid figcaption").first.text_content()
    assert first.startswith(prompts[document["worst"][0]])
    page.get_by_role("button", name="Speedup").click()
    assert "×" in page.locator("#distribution").text_content()
    strip = page.locator("#grid .strip").first
    strip.focus()
    page.keyboard.press("End")
    assert "step 4: computed" in page.locator("#grid .readout").first.text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_page_marks_a_speedup_beyond_its_bound(copy, browser):
    speedups_of(copy, 15.81)
    invoke("batch-report", copy)
    page = Look(browser, copy, LOADED).page
    assert page.locator("#settings td", has_text="15.81×*").count() == 10, "mean, quantiles, least and most"
    assert page.locator("#grid figcaption", has_text="15.81×*").count() == 3
    page.get_by_role("button", name="Speedup").click()
    assert "median 15.81×*" in page.locator("#distribution").text_content()
    assert BEYOND in page.locator("#notes").text_content()
    page.close()


def test_budgets_have_names_of_their_own(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red circle still\n")
    steps = ("--steps", "12", "--align-steps", "2", "--output-dir", "out", "-q")
    for options in (("--speedup", "2"), ("--compute", "0.6")):
        done = run(tmp_path, "batch", "prompts.txt", *steps, *options)
        assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "out/videos").iterdir())
    assert made == [f"0001-a-red-circle-still-navicache-{pace}-0.mp4" for pace in ("1.67x", "2x")]
    document = json.loads(run(tmp_path, "batch-report", "out", "--json").stdout)
    assert sorted(one["name"] for one in document["settings"]) == ["navicache 1.67x", "navicache 2x"]
