from __future__ import annotations

import copy
import json

import pytest
from jsonschema import Draft202012Validator

from navicache_cli.errors import OutputError
from navicache_cli.report import (
    Baseline,
    ModelIdentity,
    Output,
    Report,
    StepReport,
    Totals,
    machine_facts,
    read_report,
    schema,
    validate,
    write_report,
)
from navicache_cli.speed import Timings


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
    write_report(report, tmp_path / "r.json")
    document = read_report(tmp_path / "r.json")
    assert document == report.to_json()
    assert "baseline" not in document
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_baseline_is_part_of_it(report):
    import dataclasses

    validate(dataclasses.replace(report, baseline=Baseline(2.0, 1.5, 30.0, 0.9)).to_json())


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
        write_report(report, tmp_path / "r.json")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
