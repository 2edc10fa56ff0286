from __future__ import annotations

import copy
import json

import pytest
from jsonschema import Draft202012Validator

from navicache_cli.errors import OutputError
from navicache_cli.files import write_atomically
from navicache_cli.report.report import (
    Baseline,
    ModelIdentity,
    Output,
    Report,
    StepReport,
    Totals,
    machine_facts,
    read_report,
    report_text,
    schema,
    validate,
)
from navicache_cli.report.speed import Timings


@pytest.fixture
def report() -> Report:
    return Report(
        plan={"steps": {"value": 2, "source": "--steps"}},
        model=ModelIdentity("tiny t2v", "navicache", "0", "sha256:0"),
        machine=machine_facts(),
        timings_s=Timings(1, 1, 1, 1, 1, 5),
        steps=[StepReport(0, 999.0, True, True, 0.1, None, None, None, None, 0.0)],
        totals=Totals(1, 1, 0, 0.0, 1.0, 2, 0, 100, 10**6, 1.0),
        output=Output("v.mp4", "0" * 64, 17, 64, 64, 8),
    )


def test_schema_is_a_schema():
    Draft202012Validator.check_schema(schema())


def test_round_trip(report, tmp_path):
    write_atomically(tmp_path / "r.json", report_text(report))
    document = read_report(tmp_path / "r.json")
    assert document == report.to_json()
    assert "baseline" not in document
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_baseline_is_part_of_it(report):
    import dataclasses

    validate(dataclasses.replace(report, baseline=Baseline(2.0, 1.5, {"psnr": 30.0, "ssim": 0.9})).to_json())


def test_a_trajectory_is_part_of_it(report):
    import dataclasses

    trajectory = {"input_spans": [[], [0.1]], "output_spans": [[], [None]], "output_norms": [1.0, None]}
    document = dataclasses.replace(report, trajectory=trajectory).to_json()
    validate(document)
    document["trajectory"]["output_norms"][0] = "1"
    with pytest.raises(OutputError, match="trajectory/output_norms/0"):
        validate(document)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("steps"),
        lambda d: d.update(version=2),
        lambda d: d["totals"].update(skip_ratio=1.5),
        lambda d: d["steps"][0].update(computed="yes"),
        lambda d: d.update(extra=1),
        lambda d: d["output"].update(sha256="../x"),
    ],
)
def test_damaged_documents_are_refused(report, tmp_path, damage):
    document = copy.deepcopy(report.to_json())
    damage(document)
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(OutputError, match="not a navicache report"):
        read_report(tmp_path / "r.json")


def test_unreadable(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        read_report(tmp_path / "none.json")
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(OutputError, match="not JSON"):
        read_report(tmp_path / "r.json")


def test_unwritable_leaves_nothing(report, tmp_path):
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_atomically(tmp_path / "r.json", report_text(report))
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("measured", "saved_attentions", "shown"),
    [(15.81, 0, "15.81x* faster"), (1.02, 0, "1.02x faster"), (1.14, 432, "1.14x faster")],
)
def test_the_summary_marks_a_speedup_beyond_its_bound(report, measured, saved_attentions, shown, capsys):
    """Its one step was computed: nothing allows more than 1.00, unless attentions were saved too."""
    import dataclasses

    from navicache_cli.report import speed
    from navicache_cli.run.summary import show_summary

    totals = dataclasses.replace(report.totals, attention_calls_saved=saved_attentions)
    cpu = Timings(1, 1, 9.5, 1, 1, 13.5, {"text": 1.0, "denoise": 2.5, "decode": 1.0}, speed.CPU)
    for timings, seconds in ((report.timings_s, "1.00 s of"), (cpu, "9.50 s (CPU 2.50 s) of 13.50 s in all")):
        fidelity = {"psnr": 30.0, "ssim": 0.9}
        baseline = Baseline(30.0, measured, fidelity, denoise_cpu_s=25.0, total_s=31.0)
        show_summary(dataclasses.replace(report, totals=totals, baseline=baseline, timings_s=timings))
        told = " ".join(capsys.readouterr().out.split())
        assert shown in told
        assert seconds in told
        assert f"{report.machine['threads']} thread" in told
        assert (" ".join(speed.BEYOND.split()) in told) == shown.endswith("x* faster")
        assert ("at most" in told) == (saved_attentions == 0)
