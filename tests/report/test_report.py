"""The report: written, read, of an older version, and what the terminal shows of it."""

from __future__ import annotations

import copy
import json
import math

import pytest
from msgspec import structs

from navicache_cli.errors import OutputError
from navicache_cli.report.documents import as_document, document_text, plain, write_document
from navicache_cli.report.report import (
    Baseline,
    FitReport,
    ModelIdentity,
    Output,
    PlanEntry,
    Recorded,
    Report,
    StepReport,
    Totals,
    machine_facts,
    read_report,
)
from navicache_cli.report.speed import Timings


@pytest.fixture
def report() -> Report:
    return Report(
        plan={"steps": PlanEntry(2, "--steps")},
        model=ModelIdentity("tiny t2v", "navicache", "0", "sha256:0"),
        machine=machine_facts(),
        timings_s=Timings(1, 1, 1, 1, 1, 5),
        steps=[StepReport(0, 999.0, True, True, 0.1, None, None, None, None, 0.0)],
        notes=(),
        totals=Totals(1, 1, 0, 0.0, 1.0, 2, 0, 100, 10**6, 1.0),
        output=Output("v.mp4", "0" * 64, 17, 64, 64, 8),
    )


def test_round_trip(report, tmp_path):
    write_document(report, tmp_path / "r.json")
    assert read_report(tmp_path / "r.json") == report
    assert "baseline" not in json.loads((tmp_path / "r.json").read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_baseline_is_part_of_it_and_its_figures_are_keys_of_it(report, tmp_path):
    baseline = Baseline(2.0, 1.5, {"psnr": 30.0, "ssim": 0.9})
    write_document(structs.replace(report, baseline=baseline), tmp_path / "r.json")
    assert read_report(tmp_path / "r.json").baseline == baseline
    written = json.loads((tmp_path / "r.json").read_text())["baseline"]
    assert list(written) == ["denoise_s", "speedup", "psnr", "ssim", "denoise_cpu_s", "total_s"]


def test_a_trajectory_is_part_of_it(report):
    recorded = Recorded([[], [0.1]], [[], [None]], [1.0, None])
    document = plain(structs.replace(report, trajectory=recorded))
    assert as_document(document, Report).trajectory == recorded
    document["trajectory"]["output_norms"][0] = "1"
    with pytest.raises(OutputError, match="trajectory/output_norms/0"):
        as_document(document, Report)


def test_what_does_not_fit_is_not_written(report, tmp_path):
    for wrong in (
        structs.replace(report, steps=[structs.replace(report.steps[0], index=-1)]),
        structs.replace(report, plan={}),
    ):
        with pytest.raises(OutputError, match="not a navicache report"):
            write_document(wrong, tmp_path / "r.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        document_text(structs.replace(report, steps=[structs.replace(report.steps[0], ratio=math.nan)]))
    assert list(tmp_path.iterdir()) == []


def with_fit(report: Report) -> Report:
    fit = FitReport(trend=0.5, trend_deviation=0.1, record=None, used=True, corrects=False)
    return structs.replace(report, steps=[structs.replace(report.steps[0], fit=fit)])


def test_a_report_of_version_1_is_read(report):
    """It said `settles` for what is called `corrects`, and older ones had fewer keys."""
    report = with_fit(report)
    document = plain(report)
    document["version"] = 1
    fit = document["steps"][0]["fit"]
    fit["settles"] = fit.pop("corrects")
    assert as_document(copy.deepcopy(document), Report) == report
    del document["steps"][0]["stopped"], document["totals"]["predicted_error"], document["timings_s"]["clock"]
    assert as_document(copy.deepcopy(document), Report) == report
    fit["corrects"] = fit.pop("settles")
    document["version"] = 2
    assert as_document(document, Report) == report


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: d["steps"].append({}), "steps/1: expected the key index"),
        (lambda d: d.update(steps=[3]), "steps/0: expected object, found 3"),
        (lambda d: d.update(steps=7), "steps: expected array, found 7"),
        (lambda d: d.pop("steps"), "the document: expected the key steps"),
        (lambda d: d["steps"][0].update(fit=[]), "steps/0/fit: expected object | null, found []"),
    ],
)
def test_a_damaged_report_of_version_1_is_refused(report, damage, told):
    document = plain(report)
    document["version"] = 1
    damage(document)
    with pytest.raises(OutputError) as found:
        as_document(document, Report)
    assert found.value.message == f"not a navicache report: {told}"


def test_unreadable(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        read_report(tmp_path / "none.json")
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(OutputError, match="not JSON"):
        read_report(tmp_path / "r.json")


def test_unwritable_leaves_nothing(report, tmp_path):
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_document(report, tmp_path / "r.json")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("measured", "saved_attentions", "shown"),
    [(15.81, 0, "15.81x* faster"), (1.02, 0, "1.02x faster"), (1.14, 432, "1.14x faster")],
)
def test_the_summary_marks_a_speedup_beyond_its_bound(report, measured, saved_attentions, shown, capsys):
    """Its one step was computed: nothing allows more than 1.00, unless attentions were saved too."""
    from navicache_cli.report import speed
    from navicache_cli.run.summary import show_summary

    totals = structs.replace(report.totals, attention_calls_saved=saved_attentions)
    cpu = Timings(1, 1, 9.5, 1, 1, 13.5, {"text": 1.0, "denoise": 2.5, "decode": 1.0}, speed.CPU)
    for timings, seconds in ((report.timings_s, "1.00 s of"), (cpu, "9.50 s (CPU 2.50 s) of 13.50 s in all")):
        fidelity = {"psnr": 30.0, "ssim": 0.9}
        baseline = Baseline(30.0, measured, fidelity, denoise_cpu_s=25.0, total_s=31.0)
        show_summary(structs.replace(report, totals=totals, baseline=baseline, timings_s=timings))
        told = " ".join(capsys.readouterr().out.split())
        assert shown in told
        assert seconds in told
        assert f"{report.machine.threads} thread" in told
        assert (" ".join(speed.BEYOND.split()) in told) == shown.endswith("x* faster")
        assert ("at most" in told) == (saved_attentions == 0)
