"""Caching methods in a plan: what a family offers, whose settings are whose, and the policy they make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli.cache.policies.budget import check_budget
from navicache_cli.cache.policies.factory import (
    GENERAL_METHODS,
    IGNORED_BY,
    METHOD_SETTINGS,
    METHODS,
    PREDICTED_METHODS,
    make_policy,
)
from navicache_cli.cache.session.error_estimate import check_max_error
from navicache_cli.errors import UsageError
from navicache_cli.plan.core_errors import told_in_options
from navicache_cli.plan.presets import OFF, Preset, preset_folder, unknown
from navicache_cli.reading import expand_user, read_json

if TYPE_CHECKING:
    from navicache_cli.cache.policies.policy import Policy
    from navicache_cli.plan.plan import Plan

MAX_RATIO_FILE_BYTES = 1_000_000
# Up to so many steps the plain sampler mostly came nearer at as many steps as a method computed; see
# "Few steps" in docs/methods.md.
FEW_STEPS = 12
SHIPPED_RATIOS = "magcache-"  # how the files of magnitude ratios beside a preset begin


def method_layers(
    preset: Preset, task: str, size: str, mode: str, method: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a preset says of a method, weakest first: where it is from, and plan values.

    For all tasks, for the task, for the task at the size; each time in general, then for the mode.
    """
    label = f"preset {preset.model}"
    spec = preset.tasks[task]
    of_size = spec.get("by_size", {}).get(size, {})
    for where, methods in (
        (label, preset.methods),
        (f"{label} {task}", spec.get("methods", {})),
        (f"{label} {task} {size}", of_size.get("methods", {})),
    ):
        values = dict(methods.get(method, {}))
        modes = values.pop("modes", {})
        yield f"{where} {method}", values
        yield f"{where} {method} {mode}", modes.get(mode, {})


def check_method(plan: Plan, preset: Preset) -> None:
    """Check that the family offers the method, and that it takes every setting that was given.

    Raises:
        UsageError: it does not, a setting is out of range, or magnitude ratios are missing.
    """
    if plan.method not in METHODS:
        raise UsageError(unknown("method", plan.method, METHODS), "set it with --method")
    offered = (*GENERAL_METHODS, *preset.methods)
    if plan.method not in offered:
        raise UsageError(
            f"method expects one that {plan.model} offers, "
            f"found {plan.method!r} ({plan.provenance['method']})",
            f"{plan.model} offers {', '.join(offered)}",
        )
    for owner, settings in METHOD_SETTINGS.items():
        for setting in settings if owner != plan.method else ():
            if plan.provenance[setting] != "default":
                name = setting.replace("_", "-")
                raise UsageError(
                    f"{name} expects method {owner}, found {plan.method!r} ({plan.provenance[setting]})",
                    f"add --method {owner}, or drop {name}",
                )
    if plan.predictor != "residual" and plan.method not in (*PREDICTED_METHODS, OFF):
        raise UsageError(
            f"predictor expects method {' or '.join(PREDICTED_METHODS)}, found {plan.method!r}, "
            f"which has one of its own ({plan.provenance['predictor']})",
            f"add --method {PREDICTED_METHODS[0]}, or drop predictor",
        )
    _check_budget(plan)
    _check_max_error(plan)
    if plan.method == "pab":
        kinds = [item.partition("=")[0] for item in preset.methods["pab"]["broadcast"].split()]
        for kind in _broadcast(plan):
            if kind not in kinds:
                raise UsageError(
                    f"broadcast expects kinds of attention that {plan.model} has ({', '.join(kinds)}), "
                    f"found {kind!r} ({plan.provenance['broadcast']})",
                    f"--set broadcast='{preset.methods['pab']['broadcast']}'",
                )
    with told_in_options():
        policy_for(plan).begin(plan.steps)


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
        UsageError: a setting is out of range, or the file of magnitude ratios cannot be read.
    """
    readers = {"broadcast": _broadcast, "window": _window, "ratios": _ratios, "coefficients": _coefficients}
    settings = {}
    for setting in METHOD_SETTINGS.get(plan.method, ()):
        reader = readers.get(setting)
        settings[setting] = reader(plan) if reader else getattr(plan, setting)
    return make_policy(
        plan.method,
        threshold=plan.threshold,
        align_steps=plan.align_steps,
        estimator=plan.estimator,
        compute=plan.budget,
        **settings,
    )


def about_steps(plan: Plan) -> list[str]:
    """What is worth knowing of a cache on a plan of few steps."""
    if plan.method in PREDICTED_METHODS and plan.steps <= plan.align_steps + 1:
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
    idle = dict.fromkeys(IGNORED_BY.get(plan.method, ()), f"method {plan.method}")
    if plan.budget:
        idle["mode"] = "speedup" if plan.speedup else "compute"  # A mode is a threshold, and so is a budget.
    return [
        f"{option.replace('_', '-')} has no effect with {beside} ({source})"
        for option, beside in idle.items()
        if (source := plan.provenance[option]) != "default" and not source.startswith("preset")
    ]


def _broadcast(plan: Plan) -> dict[str, int]:
    pairs = (item.partition("=") for item in plan.broadcast.split())
    return {kind: int(count) for kind, _, count in pairs}


def _window(plan: Plan) -> tuple[float, float]:
    numbers = [float(item) for item in plan.window.split()]
    if len(numbers) != 2:
        raise UsageError(
            f"window expects two timesteps, found {plan.window!r} ({plan.provenance['window']})",
            "--set window='100 800'",
        )
    return numbers[0], numbers[1]


def _coefficients(plan: Plan) -> tuple[float, ...]:
    return tuple(float(item) for item in plan.coefficients.split()) or (1.0, 0.0)


def _ratios(plan: Plan) -> list[float]:
    """Read the magnitude ratios: a file's, or those shipped under a name; none where nothing is said."""
    if not plan.ratios:
        raise UsageError(
            f"magcache expects magnitude ratios, {plan.model} {plan.task} has none yet",
            f"measure them: navicache calibrate --model {plan.model}, "
            "then name the file with --set ratios=FILE.json",
        )
    if plan.ratios.endswith(".json"):
        return read_ratios(expand_user(plan.ratios), plan.model)
    shipped = {
        entry.name.removeprefix(SHIPPED_RATIOS).removesuffix(".json"): entry
        for entry in preset_folder(plan.model).iterdir()
        if entry.name.startswith(SHIPPED_RATIOS)
    }
    if plan.ratios not in shipped:
        raise UsageError(
            unknown("magnitude ratios", plan.ratios, sorted(shipped)), "name one of these, or a .json file"
        )
    return read_ratios(shipped[plan.ratios], plan.model)


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
