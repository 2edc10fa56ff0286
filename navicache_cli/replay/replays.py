"""What methods and thresholds would have decided on recorded generations: the work of `navicache replay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from navicache_cli.cache.policies.budget import most_align_steps, share_of
from navicache_cli.cache.policies.factory import METHODS, make_policy
from navicache_cli.cache.policies.policy import Policy
from navicache_cli.cache.recording.trajectory import ReplayedStep, Trajectory, replay
from navicache_cli.errors import OutputError, UsageError
from navicache_cli.plan.presets import load_presets
from navicache_cli.plan.sweep import EVERY, Sweep
from navicache_cli.report.documents import plain
from navicache_cli.report.report import finite, read_report

# Methods that decide by the changes of input and output, which is what a recording holds.
REPLAYABLE = ("off", "navicache", "easycache")


@dataclass(frozen=True)
class Recording:
    """A report that holds a trajectory.

    Attributes:
        path: the report.
        plan: its options' values.
        trajectory: all steps measured against one another.
        timesteps: t_i of each.
    """

    path: Path
    plan: dict[str, Any]
    trajectory: Trajectory
    timesteps: list[float]


@dataclass(frozen=True)
class Setting:
    """One way to cache.

    Attributes:
        estimator: "" for a method that has none to choose.
        threshold: τ; 0 beside a budget.
        compute: a budget, share of the steps to compute, in the place of a threshold; 0 where there is none.
    """

    method: str
    estimator: str
    threshold: float
    align_steps: int
    compute: float = 0.0

    @property
    def line(self) -> str:
        """What all thresholds, or all budgets, of one line in a picture share."""
        return f"{self.method}, {self.estimator}" if self.estimator else self.method


@dataclass(frozen=True)
class Outcome:
    """What one setting decides on each recording: a list of steps a recording, in their order."""

    setting: Setting
    runs: list[list[ReplayedStep]]

    @property
    def computed(self) -> list[int]:
        """How many steps are computed, for each recording."""
        return [sum(step.decision.compute for step in steps) for steps in self.runs]

    @property
    def compute_ratios(self) -> list[float]:
        """Computed steps over steps, for each recording."""
        return [count / len(steps) for count, steps in zip(self.computed, self.runs, strict=True)]


def read_recordings(paths: Sequence[Path]) -> list[Recording]:
    """Read reports of one model, task and number of steps.

    Raises:
        OutputError: a file cannot be read, is no report, or holds no trajectory.
        UsageError: they are of different models, tasks or numbers of steps.
    """
    recordings = [_read(path) for path in paths]
    first = recordings[0]
    for other in recordings[1:]:
        if _kind(other) != _kind(first):
            raise UsageError(
                f"expected recordings of one model, task and number of steps; found {_kind(first)} "
                f"({first.path.name}) and {_kind(other)} ({other.path.name})",
                "replay them apart",
            )
    return recordings


def _read(path: Path) -> Recording:
    report = read_report(path)
    if not report.trajectory:
        raise OutputError(
            f"expected a recorded trajectory in {path}; found a report without one",
            "record one: navicache generate --mode off --trajectory",
        )
    try:
        trajectory = Trajectory.from_json(plain(report.trajectory))
    except OutputError as error:
        raise OutputError(f"{path}: {error.message}", error.hint) from None
    if not trajectory.total_steps or trajectory.total_steps != len(report.steps):
        raise OutputError(
            f"expected as many steps recorded as generated in {path}; found {trajectory.total_steps} "
            f"and {len(report.steps)}",
            "record it again: navicache generate --mode off --trajectory",
        )
    timesteps = [step.timestep for step in report.steps]
    return Recording(path, report.plan_values(), trajectory, timesteps)


def _kind(recording: Recording) -> str:
    words = [recording.plan.get("model"), recording.plan.get("task"), recording.trajectory.total_steps]
    return " ".join(str(word)[:40] for word in words) + " steps"


def choose_settings(
    plan: dict[str, Any],
    methods: Sequence[str] = (),
    thresholds: Sequence[float] = (),
    align_steps: int | None = None,
    estimators: Sequence[str] = (),
    sweeps: Sequence[Sweep] = (),
    budgets: Sequence[float] = (),
) -> list[Setting]:
    """List the settings asked for; what is left out is the recording's, or that of its model's modes.

    Args:
        plan: the options of a recording.
        methods: names; "navicache", or the methods swept, if there are none.
        thresholds: for the methods that no sweep covers; if there are none, and no budgets either, those of
            the model's modes, or its budget where it has one in their place.
        align_steps: if None the recording's; beside a budget as few of them as `generate` then takes.
        estimators: for "navicache"; the recording's if there are none.
        sweeps: thresholds by method.
        budgets: shares of the steps to compute, for every method.

    Raises:
        UsageError: no threshold is known; an unknown method or estimator, one that needs more than a
            recording has, or a number out of range.
    """
    if not (thresholds or sweeps or budgets):
        budgets = _budget_of(plan)
    named = [sweep.method for sweep in sweeps if sweep.method != EVERY]
    chosen = list(dict.fromkeys([*methods, *named])) or ["navicache"]
    first_steps = align_steps if align_steps is not None else plan.get("align_steps", 0)

    def first_on(share: float) -> int:
        most = most_align_steps(int(plan.get("steps") or 0), share)
        return first_steps if align_steps is not None else min(first_steps, most)

    filters = list(dict.fromkeys(estimators)) or [str(plan.get("estimator") or "scalar")]
    settings = []
    for method in chosen:
        swept = {value for sweep in sweeps if sweep.covers(method) for value in sweep.thresholds}
        values = sorted(swept or set(thresholds) or (set() if budgets else _thresholds_of_modes(plan)))
        for estimator in filters if method == "navicache" else [""]:
            settings += [Setting(method, estimator, value, first_steps) for value in values]
            settings += [
                Setting(method, estimator, 0.0, first_on(share), share) for share in sorted(set(budgets))
            ]
    for setting in settings:
        _policy(setting)
    return settings


def _budget_of(plan: dict[str, Any]) -> list[float]:
    preset = load_presets().get(str(plan.get("model")))
    speedup = preset.budget.get("speedup") if preset else None
    return [share_of(speedup, 0.0)] if speedup else []


def _thresholds_of_modes(plan: dict[str, Any]) -> set[float]:
    preset = load_presets().get(str(plan.get("model")))
    modes = preset.modes.values() if preset else ()
    found = {float(mode["threshold"]) for mode in modes if "threshold" in mode}
    if not found:
        raise UsageError(
            f"expected a threshold, as {str(plan.get('model'))[:40]!r} has no preset; found none",
            "--threshold 0.05",
        )
    return found


def play(recordings: Sequence[Recording], settings: Sequence[Setting]) -> list[Outcome]:
    """Replay each setting on each recording.

    Raises:
        UsageError: a method decides by numbers a trajectory does not hold, or a budget is out of reach.
    """
    return [
        Outcome(setting, [replay(_policy(setting), one.trajectory, one.timesteps) for one in recordings])
        for setting in settings
    ]


def _policy(setting: Setting) -> Policy:
    if setting.compute and setting.method == "off":
        raise UsageError(
            "expected a method that skips steps with a budget; found 'off'", "--method navicache"
        )
    if setting.method in METHODS and setting.method not in REPLAYABLE:
        raise UsageError(
            f"expected a method that decides by the changes of input and output, which is what a recording "
            f"holds ({', '.join(REPLAYABLE)}); found {setting.method!r}, which needs more",
            f"run it: navicache generate --method {setting.method}",
        )
    return make_policy(
        setting.method,
        threshold=setting.threshold,
        align_steps=setting.align_steps,
        estimator=setting.estimator or "scalar",
        compute=setting.compute,
    )


def to_json(recordings: Sequence[Recording], outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """All decisions as one document; a step has the keys it has in a report."""
    return {
        "model": recordings[0].plan.get("model"),
        "task": recordings[0].plan.get("task"),
        "total_steps": recordings[0].trajectory.total_steps,
        "seconds": seconds,
        "settings": [
            {
                "method": outcome.setting.method,
                "estimator": outcome.setting.estimator or None,
                "threshold": None if outcome.setting.compute else outcome.setting.threshold,
                "compute": outcome.setting.compute or None,
                "align_steps": outcome.setting.align_steps,
                "compute_ratio": fmean(outcome.compute_ratios),
                "recordings": [
                    {
                        "path": str(recording.path),
                        "computed_steps": computed,
                        "compute_ratio": computed / len(steps),
                        "steps": [_step(index, step) for index, step in enumerate(steps)],
                    }
                    for recording, computed, steps in zip(
                        recordings, outcome.computed, outcome.runs, strict=True
                    )
                ],
            }
            for outcome in outcomes
        ],
    }


def _step(index: int, step: ReplayedStep) -> dict[str, Any]:
    decision = step.decision
    numbers = {
        "ratio": decision.ratio,
        "variance": decision.variance,
        "innovation": step.innovation,
        "predicted_change": decision.predicted_change,
        "accumulated_error": decision.accumulated_error,
        "threshold": decision.threshold,
    }
    shown = {key: finite(value) for key, value in numbers.items()}
    return {"index": index, "computed": decision.compute, "forced": decision.forced, **shown}
