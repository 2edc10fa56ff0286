"""Caching methods in a plan: what a family offers, whose settings are whose, and the policy they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli.cache.policies.budget import check_budget
from navicache_cli.cache.policies.factory import (
    GENERAL_METHODS,
    METHOD_SETTINGS,
    METHODS,
    PREDICTED_METHODS,
    make_policy,
    method_called,
)
from navicache_cli.cache.policies.pab import PabSettings
from navicache_cli.cache.session.error_estimate import check_max_error
from navicache_cli.errors import UsageError
from navicache_cli.plan.core_errors import told_in_options
from navicache_cli.plan.keys import own_settings
from navicache_cli.plan.presets import OFF, Preset, preset_folder, preset_for, unknown
from navicache_cli.plan.schedules import SCHEDULE_IGNORES, check_schedule, scheduled_steps
from navicache_cli.reading import expand_user, read_json

if TYPE_CHECKING:
    from navicache_cli.cache.policies.policy import Policy
    from navicache_cli.plan.plan import Plan

MAX_RATIO_FILE_BYTES = 1_000_000
# Up to so many steps the plain sampler mostly came nearer at as many steps as a method computed; see
# "Few steps" in docs/methods.md.
FEW_STEPS = 12
SHIPPED_RATIOS = "magcache-"  # how the files of magnitude ratios beside a preset begin


def settings_from(method: str, preset: Preset, values: Mapping[str, Any], sources: Mapping[str, str]) -> Any:
    """Return a method's own settings, as the dataclass beside its policy.

    Args:
        method: a name the user gave.
        preset: of the family that must offer it.
        values, sources: of all keys that were given.

    Raises:
        UsageError: there is no such method, the family does not offer it, or a setting is another method's.
    """
    if method not in METHODS:
        raise UsageError(unknown("method", method, METHODS), "set it with --method")
    offered = (*GENERAL_METHODS, *preset.methods)
    if method not in offered:
        raise UsageError(
            f"method expects one that {preset.model} offers, found {method!r} ({sources['method']})",
            f"{preset.model} offers {', '.join(offered)}",
        )
    own = own_settings(method)
    for owner, settings in METHOD_SETTINGS.items():
        for setting in settings:
            if setting in values and setting not in own:
                name = setting.replace("_", "-")
                raise UsageError(
                    f"{name} expects method {owner}, found {method!r} ({sources[setting]})",
                    f"add --method {owner}, or drop {name}",
                )
    return method_called(method).settings(**{name: values[name] for name in own if name in values})


def check_method(plan: Plan, preset: Preset) -> None:
    """Check what a method is given, beyond each value by itself; see `settings_from` too.

    Raises:
        UsageError: something it does not take or the family does not have, a setting out of range, or
            magnitude ratios that are missing.
    """
    if plan.predictor != "residual" and plan.method not in (*PREDICTED_METHODS, OFF):
        raise UsageError(
            f"predictor expects method {' or '.join(PREDICTED_METHODS)}, found {plan.method!r}, "
            f"which has one of its own ({plan.provenance['predictor']})",
            f"add --method {PREDICTED_METHODS[0]}, or drop predictor",
        )
    _check_budget(plan)
    check_schedule(plan)
    _check_max_error(plan)
    if isinstance(plan.settings, PabSettings):
        _check_kinds(plan, plan.settings, preset)
    with told_in_options():
        policy_for(plan).begin(plan.steps)


def _check_kinds(plan: Plan, settings: PabSettings, preset: Preset) -> None:
    """Check that the family has the kinds of attention that outputs are kept of."""
    example = str(preset.methods["pab"].get("broadcast", ""))
    kinds = [item.partition("=")[0] for item in example.split()]
    for item in settings.broadcast.split():
        kind = item.partition("=")[0]
        if kind not in kinds:
            raise UsageError(
                f"broadcast expects kinds of attention that {plan.model} has ({', '.join(kinds)}), "
                f"found {kind!r} ({plan.provenance['broadcast']})",
                f"--set broadcast='{example}'",
            )


def _check_budget(plan: Plan) -> None:
    """Check that a budget stands alone and that the method can keep to one; its range the policy checks."""
    for option in ("speedup", "compute"):
        value, source = getattr(plan, option), plan.provenance[option]
        if value == 0 and source == "default":
            continue
        with told_in_options(source):
            check_budget(option, value)
        if plan.method not in PREDICTED_METHODS:
            raise UsageError(
                f"{option} expects method {' or '.join(PREDICTED_METHODS)}, found {plan.method!r} ({source})",
                f"add --method {PREDICTED_METHODS[0]}, or drop {option}",
            )
        if plan.threshold and not plan.provenance["threshold"].startswith("preset"):
            raise UsageError(
                f"{option} sets the threshold itself, found threshold {plan.threshold:g} "
                f"({plan.provenance['threshold']}) too ({source})",
                f"drop threshold, or {option}",
            )
    if plan.speedup and plan.compute:
        raise UsageError(
            f"expected speedup or compute, found both ({plan.provenance['speedup']}, "
            f"{plan.provenance['compute']})",
            "--speedup 2 is --compute 0.5",
        )


def _check_max_error(plan: Plan) -> None:
    """Check that a bound of the predicted error is one, and that the method predicts any."""
    source = plan.provenance["max_error"]
    if plan.max_error == 0 and source == "default":
        return
    with told_in_options(source):
        check_max_error(plan.max_error)
    if plan.method not in (*PREDICTED_METHODS, OFF):
        raise UsageError(
            f"max-error expects method {' or '.join(PREDICTED_METHODS)}, found {plan.method!r}, "
            f"which predicts no error ({source})",
            f"add --method {PREDICTED_METHODS[0]}, or drop max-error",
        )


def policy_for(plan: Plan) -> Policy:
    """Build the policy of a plan, in the state of a fresh generation.

    Raises:
        UsageError: a setting is out of range, or the magnitude ratios, or the schedule, cannot be used.
    """
    settings = {}
    for name, one in own_settings(plan.method).items():
        value = getattr(plan.settings, name)
        if one.file:
            value = _ratios(plan, value)
        settings[name] = one.convert(value) if one.convert else value
    return make_policy(
        plan.method,
        threshold=plan.threshold,
        align_steps=plan.align_steps,
        estimator=plan.estimator,
        compute=plan.budget,
        schedule=scheduled_steps(plan) if plan.schedule and plan.method != OFF else (),
        **settings,
    )


def about_steps(plan: Plan) -> list[str]:
    """What is worth knowing of a cache on a plan of few steps."""
    if plan.method in PREDICTED_METHODS and not plan.schedule and plan.steps <= plan.align_steps + 1:
        return [
            f"{plan.steps} steps leave nothing to skip: the first {plan.align_steps} and the last are always "
            "computed; to save time, lower --steps"
        ]
    if plan.method != OFF and plan.steps <= FEW_STEPS:
        return [
            f"{plan.steps} steps are few for a cache: up to {FEW_STEPS}, measured on tiny, --mode off with "
            "lower --steps mostly came out better at equal cost"
        ]
    return []


def about_options(plan: Plan) -> list[str]:
    """What was asked for and does nothing with the method; what another method alone has is refused."""
    idle = dict.fromkeys(method_called(plan.method).ignores, f"method {plan.method}")
    if plan.budget:
        idle["mode"] = "speedup" if plan.speedup else "compute"  # A mode is a threshold, and so is a budget.
    if plan.schedule and plan.method != OFF:
        idle |= dict.fromkeys(SCHEDULE_IGNORES, "a schedule")
    return [
        f"{option.replace('_', '-')} has no effect with {beside} ({source})"
        for option, beside in idle.items()
        if (source := plan.provenance[option]) != "default" and not source.startswith("preset")
    ]


def _ratios(plan: Plan, named: str) -> list[float]:
    """Read the magnitude ratios: a file's, or those shipped under a name; none where nothing is said."""
    if not named:
        needed = preset_for(plan.model).tasks[plan.task].get("inputs", [])
        inputs = "".join(f" --set {name}=FILE" for name in needed)
        raise UsageError(
            f"magcache expects magnitude ratios, {plan.model} {plan.task} has none yet",
            f"measure them: navicache calibrate --model {plan.model} --task {plan.task}{inputs}, "
            "then name the file with --set ratios=FILE.json",
        )
    if named.endswith(".json"):
        return read_ratios(expand_user(named), plan.model)
    shipped = {
        entry.name.removeprefix(SHIPPED_RATIOS).removesuffix(".json"): entry
        for entry in preset_folder(plan.model).iterdir()
        if entry.name.startswith(SHIPPED_RATIOS)
    }
    if named not in shipped:
        raise UsageError(
            unknown("magnitude ratios", named, sorted(shipped)), "name one of these, or a .json file"
        )
    return read_ratios(shipped[named], plan.model)


def read_ratios(path: Path, model: str) -> list[float]:
    """Read magnitude ratios, as `navicache calibrate` writes them.

    Raises:
        UsageError: the file is missing, too large, of another form, or of another model.
    """
    hint = f"measure them: navicache calibrate --model {model}"
    try:
        document = read_json(path, MAX_RATIO_FILE_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the magnitude ratios {path}: {error.strerror}", hint) from None
    ratios = document.get("ratios") if isinstance(document, dict) else None
    numbers = isinstance(ratios, list) and all(
        isinstance(ratio, int | float) and not isinstance(ratio, bool) for ratio in ratios
    )
    if not numbers or not ratios:
        raise UsageError(f"expected {path} to hold a list of numbers under 'ratios', found none", hint)
    if document.get("model", model) != model:
        raise UsageError(
            f"expected magnitude ratios of {model}, found those of {str(document['model'])[:40]!r} in {path}",
            hint,
        )
    return [float(ratio) for ratio in ratios]
