"""`navicache replay` on a recorded generation of `tiny`, against real runs."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from navicache_cli.cache.policies.factory import METHODS
from navicache_cli.cache.sites.binding import Around, Before
from navicache_cli.errors import NavicacheError, OutputError, UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import resolve
from navicache_cli.plan.sweep import parse_sweep
from navicache_cli.plots import accuracy
from navicache_cli.replay.replays import REPLAYABLE
from navicache_cli.report import steps
from navicache_cli.report.documents import plain
from navicache_cli.run import runner
from tests.conftest import clean_environment
from tests.program import invoke, report_in

STEPS = 20
SETTINGS = [
    ("navicache", "scalar", 0.0, 4),
    ("navicache", "scalar", 0.05, 5),
    ("navicache", "scalar", 0.3, 2),
    ("navicache", "dual", 0.1, 5),
    ("navicache", "dual", 0.5, 3),
    ("easycache", "scalar", 0.1, 5),
    ("easycache", "scalar", 0.4, 0),
]
NUMBERS = ("ratio", "variance", "innovation", "predicted_change", "accumulated_error")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a generation recorded by the real program."""
    video = tmp_path_factory.mktemp("recorded") / "run.mp4"
    invoke("generate", "--steps", STEPS, "--mode", "off", "--trajectory", "-q", "-o", video)
    return video.with_suffix(".json")


def replayed(recording: Path, method: str, estimator: str, threshold: float, align: int) -> list[dict]:
    """The steps of one setting."""
    shown = invoke(
        "replay", recording, "--json", "--method", method, "--estimator", estimator,
        "--threshold", threshold, "--align-steps", align,
    )  # fmt: skip
    (setting,) = json.loads(shown)["settings"]
    (run,) = setting["recordings"]
    assert run["computed_steps"] == sum(step["computed"] for step in run["steps"])
    return run["steps"]


@cache
def pipeline():
    """`tiny`, loaded once."""
    from backends.registry import get_backend

    return get_backend("tiny").load(resolve([]))


class Both(Around):
    """Lets the model run where the call was answered, too, and returns what that returned."""

    def __init__(self, around) -> None:
        self._around = around

    def before(self, args, kwargs):
        return Before(False, self._around.before(args, kwargs))

    def after(self, before, output):
        if not before.answered:
            self._around.after(before.answer, output)


class Unmoved:
    """A pipeline whose sampler goes on from the model's own output where the cache skipped.

    So the session decides on the recorded path, skips and all, and its decisions can be compared to the end.
    """

    def __init__(self, inner) -> None:
        self.inner, self.identity = inner, inner.identity

    def site(self, *region):
        inner = self.inner.site(*region)

        class Site:
            def bindings(self, session):
                ((module, around),) = inner.bindings(session)
                return [(module, Both(around))]

        return Site()

    def generate(self, plan, stages):
        return self.inner.generate(plan, stages)


def options(method: str, estimator: str, threshold: float, align: int) -> dict:
    return {
        "steps": STEPS, "method": method, "estimator": estimator, "threshold": threshold, "align_steps": align
    }  # fmt: skip


BUDGETS = [("navicache", "scalar", 0.5, 4), ("navicache", "dual", 0.4, 3), ("easycache", "scalar", 0.75, 5)]


def fields(step: dict) -> list:
    return [step[key] for key in ("index", "computed", "forced", *NUMBERS)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_decisions_are_a_sessions_on_the_recorded_path(recording: Path, setting: tuple) -> None:
    plan = resolve([Layer("test", options(*setting))])
    real = steps.step_reports(runner.run(Unmoved(pipeline()), plan).session)
    assert [fields(plain(step)) for step in real] == [fields(s) for s in replayed(recording, *setting)]


@pytest.mark.parametrize(("method", "estimator", "share", "align"), BUDGETS)
def test_budgets_decide_as_in_a_session_on_the_recorded_path(
    recording: Path, method: str, estimator: str, share: float, align: int
) -> None:
    plan = resolve([Layer("test", {**options(method, estimator, 0.0, align), "compute": share})])
    real = steps.step_reports(runner.run(Unmoved(pipeline()), plan).session)
    shown = invoke(
        "replay", recording, "--json", "--method", method, "--estimator", estimator,
        "--align-steps", align, "--speedup", 1 / share,
    )  # fmt: skip
    (setting,) = json.loads(shown)["settings"]
    (run,) = setting["recordings"]
    assert setting["threshold"] is None
    assert setting["compute"] == pytest.approx(share)
    assert [fields(step) for step in run["steps"]] == [fields(plain(step)) for step in real]
    assert [step["threshold"] for step in run["steps"]] == [step.threshold for step in real]
    assert run["computed_steps"] == share * STEPS


def test_budgets_beside_thresholds_in_table_and_picture(recording: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'navicache[plot]'")
    from navicache_cli.plots.replay import draw_replay
    from navicache_cli.plots.theme import LIGHT, drawing
    from navicache_cli.replay.replays import choose_settings, play, read_recordings

    shown = invoke("replay", recording, "--threshold", "0.1", "--compute", "0.5,0.6")
    assert [word in shown for word in ("0.1 ", "budget 0.5 ", "budget 0.6 ")] == [True] * 3
    recordings = read_recordings([recording, recording])
    settings = choose_settings(recordings[0].plan, thresholds=[0.1], budgets=[0.6, 0.5])
    assert [(setting.threshold, setting.compute) for setting in settings] == [(0.1, 0), (0, 0.5), (0, 0.6)]
    outcomes = play(recordings, settings)
    with drawing(LIGHT):
        ratios, budgets = draw_replay(outcomes, "x", LIGHT).axes
    assert [list(line.get_xdata()) for line in ratios.lines] == [[0.1]]
    for line, outcome in zip(budgets.lines, outcomes[1:], strict=True):
        decided = {i: step.decision.threshold for i, step in enumerate(outcome.runs[0])}
        set_by_it = {i: threshold for i, threshold in decided.items() if threshold is not None}
        assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == pytest.approx(set_by_it)


@pytest.mark.parametrize("setting", SETTINGS)
def test_decisions_are_a_real_runs_up_to_the_first_skip(
    recording: Path, tmp_path: Path, setting: tuple
) -> None:
    """Beyond it the run's latents are no longer the recorded ones; without a skip all is equal."""
    method, estimator, threshold, align = setting
    invoke(
        "generate", "--steps", STEPS, "-q", "-o", tmp_path / "run.mp4", "--method", method,
        "--estimator", estimator, "--threshold", threshold, "--align-steps", align,
    )  # fmt: skip
    real, found = report_in(tmp_path / "run.json")["steps"], replayed(recording, *setting)
    skips = [step["index"] for step in found if not step["computed"]]
    end = skips[0] + 1 if skips else STEPS
    assert [fields(step) for step in found[:end]] == [fields(step) for step in real[:end]]
    if threshold == 0:
        assert not skips
    if threshold >= 0.3:
        assert skips


def test_recording_changes_no_pixel(recording: Path, tmp_path: Path) -> None:
    invoke("generate", "--steps", STEPS, "--mode", "off", "-q", "-o", tmp_path / "plain.mp4")
    plain, recorded = report_in(tmp_path / "plain.json"), report_in(recording)
    assert "trajectory" not in plain
    assert plain["totals"]["cache_bytes"] == 0
    latents = 16 * 5 * 8 * 8 * 4
    assert recorded["totals"]["cache_bytes"] == 2 * STEPS * latents
    assert all(step["computed"] for step in recorded["steps"])
    frames = [np.asarray(read(path)) for path in (tmp_path / "plain.mp4", recording.with_suffix(".mp4"))]
    assert np.array_equal(*frames)


def read(path: Path) -> np.ndarray:
    from navicache_cli.media.video import read_video

    return read_video(path)[0]


def test_sweep_and_picture(recording: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sweep.svg"
    arguments = (
        "replay", recording, recording, "--method", "navicache,easycache", "--estimator", "scalar,dual",
        "--sweep", "method.threshold=0:0.4:5",
    )  # fmt: skip
    shown = invoke(*arguments, "-o", picture)
    assert shown.splitlines()[-1] == str(picture)
    assert "15 settings on 2 recordings in" in shown
    assert picture.stat().st_size > 5000
    document = json.loads(invoke(*arguments, "--json"))
    assert document["seconds"] < 1, "milliseconds, on a machine that is not busy"
    lines = {}
    for setting in document["settings"]:
        lines.setdefault((setting["method"], setting["estimator"]), []).append(setting)
        assert len({run["compute_ratio"] for run in setting["recordings"]}) == 1
    assert list(lines) == [("navicache", "scalar"), ("navicache", "dual"), ("easycache", None)]
    for members in lines.values():
        assert [setting["threshold"] for setting in members] == [0, 0.1, 0.2, 0.3, 0.4]
        assert members[0]["compute_ratio"] == 1
        assert members[-1]["compute_ratio"] < 1


def test_the_picture_shows_the_ratios(recording: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'navicache[plot]'")
    from navicache_cli.plots.replay import draw_replay
    from navicache_cli.plots.theme import LIGHT, drawing
    from navicache_cli.replay.replays import choose_settings, play, read_recordings

    recordings = read_recordings([recording, recording])
    sweep = parse_sweep("easycache.threshold=0.1:0.5:3")
    settings = choose_settings(recordings[0].plan, ["navicache"], [0.05, 0.2], sweeps=[sweep])
    outcomes = play(recordings, settings)
    with drawing(LIGHT):
        (axes,) = draw_replay(outcomes, "x", LIGHT).axes
    assert [line.get_label() for line in axes.lines] == ["navicache, scalar", "easycache"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.05, 0.2], [0.1, 0.3, 0.5]]
    for line, members in zip(axes.lines, (outcomes[:2], outcomes[2:]), strict=True):
        np.testing.assert_allclose(line.get_ydata(), [np.mean(one.compute_ratios) for one in members])


def test_without_options_the_modes_of_the_model(recording: Path) -> None:
    document = json.loads(invoke("replay", recording, "--json"))
    plan = report_in(recording)["plan"]
    (modes,) = json.loads(invoke("presets", "--model", "tiny", "--json")).values()
    expected = sorted(mode["threshold"] for mode in modes["modes"].values() if "threshold" in mode)
    assert [setting["threshold"] for setting in document["settings"]] == expected
    for setting in document["settings"]:
        assert setting["align_steps"] == plan["align_steps"]["value"]
        assert setting["estimator"] == plan["estimator"]["value"]
    shown = invoke("replay", recording, "--threshold", "1000", "--align-steps", "3")
    strip = "".join(character for character in shown if character in "█░")  # a narrow terminal breaks it
    assert strip == "█" * 3 + "░" * (STEPS - 4) + "█"


def test_pairs_of_a_recording_are_its_changes_from_step_to_step(recording: Path) -> None:
    from navicache_cli.replay.replays import read_recordings

    (found,) = read_recordings([recording])
    pairs = accuracy.pairs_of(found.trajectory, "run")
    assert pairs.steps.tolist() == list(range(1, STEPS))
    assert pairs.inputs[6] == found.trajectory.input_spans[7][6]
    assert pairs.outputs[6] == found.trajectory.output_spans[7][6]
    assert (pairs.inputs > 0).all()


def test_sweeps() -> None:
    sweep = parse_sweep("navicache.threshold=0.02:0.2:8")
    assert (sweep.method, len(sweep.thresholds)) == ("navicache", 8)
    assert np.diff(sweep.thresholds) == pytest.approx(0.18 / 7, abs=2e-6)
    assert (sweep.thresholds[0], sweep.thresholds[-1]) == (0.02, 0.2)
    assert sweep.covers("navicache")
    assert not sweep.covers("easycache")
    assert parse_sweep("method.threshold=0.1:0.1:1").covers("easycache")


@pytest.mark.parametrize(
    "text",
    [
        "", "threshold=0:1:3", "a.align_steps=1:2:3", "a.threshold=0:1", "a.threshold=x:1:3",
        "a.threshold=0:nan:3", "a.threshold=1:0:3", "a.threshold=0:1:0", "a.threshold=-1:1:3",
        "a.threshold=0:1:100000",
    ],
)  # fmt: skip
def test_sweeps_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="sweep expects") as caught:
        parse_sweep(text)
    assert caught.value.hint.startswith("--sweep")


Change = Callable[[dict], object]


@pytest.mark.parametrize(
    ("change", "arguments", "kind", "message"),
    [
        (lambda d: d.pop("trajectory"), (), OutputError, "found a report without one"),
        (
            lambda d: d["trajectory"].pop("output_norms"),
            (),
            OutputError,
            "trajectory: expected the key output_norms",
        ),
        (lambda d: d["trajectory"]["input_spans"][3].pop(), (), OutputError, "trajectory/input_spans"),
        (lambda d: d["steps"].pop(), (), OutputError, f"found {STEPS} and {STEPS - 1}"),
        (lambda d: d["plan"]["model"].update(value="mine"), (), UsageError, "'mine' has no preset"),
        (lambda d: None, ("--method", "teacup"), UsageError, "unknown method 'teacup'"),
        (lambda d: None, ("--sweep", "teacup.threshold=0:1:3"), UsageError, "unknown method 'teacup'"),
        (lambda d: None, ("--estimator", "triple"), UsageError, "unknown estimator 'triple'"),
        (lambda d: None, ("--threshold", "-1"), UsageError, "at least 0"),
        (lambda d: None, ("--threshold", "low"), UsageError, "numbers separated by commas"),
        (lambda d: None, ("--compute", "half"), UsageError, "compute expects numbers separated by commas"),
        (lambda d: None, ("--compute", "0.5,0"), UsageError, "compute expects above 0, at most 1, found 0"),
        (lambda d: None, ("--speedup", "0.5"), UsageError, "speedup expects 1 or more, found 0.5"),
        (lambda d: None, ("--compute", "0.1"), UsageError, "take a compute share of"),
        (lambda d: None, ("--method", "off", "--compute", "0.5"), UsageError, "with a budget; found 'off'"),
        (lambda d: None, ("--align-steps", "-1"), UsageError, "align_steps"),
        (lambda d: None, ("-o", "sweep.pdf"), UsageError, r"found sweep\.pdf"),
    ],
)
def test_requests_that_make_no_sense(
    recording: Path,
    tmp_path: Path,
    change: Change,
    arguments: tuple,
    kind: type[NavicacheError],
    message: str,
) -> None:
    document = copy.deepcopy(report_in(recording))
    change(document)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(document))
    with pytest.raises(kind, match=message) as caught:
        invoke("replay", path, *arguments)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert [found.name for found in tmp_path.iterdir()] == ["changed.json"]


def test_recordings_of_different_models_are_told_apart(recording: Path, tmp_path: Path) -> None:
    document = copy.deepcopy(report_in(recording))
    document["plan"]["model"]["value"] = "wan"
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=f"found tiny t2v {STEPS} steps .* and wan t2v"):
        invoke("replay", recording, tmp_path / "other.json")


def test_only_a_run_that_computes_every_step_is_recorded() -> None:
    with pytest.raises(UsageError, match="expects a generation that computes every step") as caught:
        invoke("generate", "--trajectory", "--dry-run")
    assert caught.value.hint == "add --mode off"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_replayed_or_refused_with_a_reason(recording: Path, method: str) -> None:
    if method in REPLAYABLE:
        assert len(replayed(recording, method, "scalar", 0.1, 5)) == STEPS
        return
    with pytest.raises(UsageError, match=f"{method}.*needs more") as caught:
        invoke("replay", recording, "--method", method)
    assert caught.value.hint.endswith(method)


def test_ratios_that_are_no_numbers_are_null(recording: Path, tmp_path: Path) -> None:
    document = copy.deepcopy(report_in(recording))
    document["trajectory"]["output_norms"][5] = None
    (tmp_path / "run.json").write_text(json.dumps(document))
    steps = replayed(tmp_path / "run.json", "easycache", "scalar", 0.3, 2)
    assert all(math.isfinite(step[key]) for step in steps for key in NUMBERS if step[key] is not None)


def test_no_torch_is_loaded(recording: Path) -> None:
    code = (
        f"import sys; sys.argv = ['navicache', 'replay', {str(recording)!r}]\n"
        "from navicache_cli.app import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n"
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
