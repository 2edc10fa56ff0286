"""Schedules in a plan: the file that is meant, whether it fits, and the steps it says to compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.errors import UsageError
from navicache_cli.plan.presets import OFF, preset_folder

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity
    from navicache_cli.report.schedules import Schedules

SHIPPED = "preset"  # in the place of a file's name: the one beside the preset
SCHEDULE_IGNORES = ("align_steps", "estimator")
_WARNED = ("solver", "shift", "guidance", "predictor")


def schedule_file(plan: Plan) -> Path:
    """Return the file of schedules that a plan names.

    Raises:
        UsageError: none ships for this model and task.
    """
    from navicache_cli.reading import expand_user

    if plan.schedule != SHIPPED:
        return expand_user(plan.schedule)
    path = preset_folder(plan.model) / shipped_name(plan.model, plan.task)
    if not path.is_file():
        raise UsageError(
            f"schedule expects a file, as {plan.model} {plan.task} comes with none; found {SHIPPED!r} "
            f"({plan.provenance['schedule']})",
            f"make one: navicache schedule --model {plan.model} --task {plan.task} -o schedule.yaml",
        )
    return path


def shipped_name(model: str, task: str) -> str:
    """How the file beside a preset is called."""
    return f"schedule-{model}-{task}.yaml"


def scheduled_steps(plan: Plan) -> tuple[bool, ...]:
    """For each step whether the plan's schedule computes it.

    Raises:
        UsageError: the file cannot be read, is of another model or number of steps, or lacks the budget.
    """
    schedules = _read(plan)
    source = plan.provenance["schedule"]
    for option in ("model", "task", "steps"):
        expected, found = getattr(schedules, option), getattr(plan, option)
        if expected != found:
            raise UsageError(
                f"schedule expects one for {option} {found}, found one for {expected} in {plan.schedule} "
                f"({source})",
                f"make one: navicache schedule --model {plan.model} --task {plan.task} --steps {plan.steps}",
            )
    return schedules.on_budget(plan.budget, plan.schedule)


def about_schedule(plan: Plan) -> list[str]:
    """What of a plan is not as it was where its schedule comes from; that may cost fidelity."""
    if not plan.schedule or plan.method == OFF:
        return []
    schedules = _read(plan)
    return [
        f"the schedule was made with {option} {_shown(was)}, this video has {_shown(now)}: "
        "its steps may lie less well"
        for option in _WARNED
        if (was := getattr(schedules, option)) != (now := getattr(plan, option))
    ]


def check_schedule(plan: Plan) -> None:
    """Check that a schedule is for a method that can follow it.

    Raises:
        UsageError: it is not.
    """
    if plan.schedule and plan.method not in (*PREDICTED_METHODS, OFF):
        raise UsageError(
            f"schedule expects method {' or '.join(PREDICTED_METHODS)}, found {plan.method!r} "
            f"({plan.provenance['schedule']})",
            f"add --method {PREDICTED_METHODS[0]}, or drop schedule",
        )


def check_made_for(plan: Plan, identity: ModelIdentity) -> None:
    """Check, once a model is loaded, that the schedule was made for it.

    Raises:
        UsageError: it was made for a pipeline of another kind.
    """
    made_for = _read(plan).name
    if made_for.split()[0] != identity.name.split()[0]:
        raise UsageError(
            f"schedule expects one for {identity.name}, found one for {made_for} in {plan.schedule}",
            f"make one: navicache schedule --model {plan.model}",
        )


def _read(plan: Plan) -> Schedules:
    from navicache_cli.report.schedules import read_schedules

    return read_schedules(schedule_file(plan))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
