"""`navicache doctor`: would `generate` start here, and how to fix it if not."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from backends.official.environments import (
    enter_environment,
    environment_notes,
    environment_program,
    inside_environment,
)
from backends.official.official import RANDOM, SMALL
from navicache_cli import terminal
from navicache_cli.errors import BackendError, NavicacheError, UsageError, WeightsError
from navicache_cli.plan.layers import environment_layer
from navicache_cli.plan.presets import load_presets, preset_faults, unknown, unknown_task
from navicache_cli.plan.sizes import read_option, settle_size
from navicache_cli.reading import expand_user
from navicache_cli.setup.checks import (
    MISSING,
    OK,
    WARNING,
    Check,
    checks_elsewhere,
    ffmpeg_check,
    flash_attention_check,
    gpu_check,
    import_check,
    memory_check,
    missing,
    package_check,
    python_check,
    repository_checks,
    schedules_checks,
    torch_check,
    weights_checks,
)
from navicache_cli.values import read_switch, read_text

if TYPE_CHECKING:
    from backends.official.installation import Installation
    from backends.official.repositories import Checkout
    from navicache_cli.plan.plan import Plan

TINY = "tiny"
_COLOURS = {OK: "green", WARNING: "yellow", MISSING: "red"}


def doctor(model: str, task: str, as_json: bool) -> int:
    """Show the checks and return the exit code.

    Args:
        model: the family to look at, or "" for the machine and all families in short.
        task: of the model, or "" for the preset's.
        as_json: print a JSON document instead of a table.

    Returns:
        0 when `generate` would start, 4 when only weights are missing, else 3.

    Raises:
        OtherPython: the model has an environment, and this is not it.
        UsageError: no such model or task.
    """
    if task and not model:
        raise UsageError(
            "--task expects a --model, found none", "navicache doctor --model wan --task t2v-1.3B"
        )
    checks = model_checks(model, task) if model else summary_checks()
    code = exit_code(checks)
    if as_json:
        print(json.dumps({"ready": code == 0, "checks": [_row(check) for check in checks]}, indent=1))
    else:
        terminal.stdout.print(_table(checks))
        started = f"generate --model {model or TINY}"
        terminal.stdout.print(f"{started} would start" if code == 0 else f"{started} would not start")
    return code


def exit_code(checks: list[Check]) -> int:
    """Return 0 when nothing is missing, 4 when only weights are, else 3."""
    codes = {check.exit_code for check in checks} - {0}
    return BackendError.exit_code if codes - {WeightsError.exit_code} else max(codes, default=0)


def summary_checks() -> list[Check]:
    """The machine, tiny, and one row for each other family."""
    from backends.registry import backend_names

    rows = _machine_checks(gpu_needed=False)
    no_torch = bool(rows[1].exit_code)
    rows += [] if no_torch else _tiny_checks("")
    for name in dict.fromkeys([*load_presets(), *backend_names()]):
        if name != TINY:
            rows.append(_summary(name, no_torch))
    return rows


def _summary(model: str, no_torch: bool) -> Check:
    """One row for a family: ready, or what is missing."""
    try:
        task = _task(model, "")
        if (program := environment_program(model)) and not inside_environment(model):
            return _summary_of(model, task, checks_elsewhere(program, model))
        gpu = [] if no_torch or _installation(model) is None else [gpu_check(needed=True)]
        checks = [*gpu, *_family_checks(model, task, _setting("weights"), no_torch)]
    except UsageError as error:  # Of the environment, which may be meant for another family.
        return Check(model, WARNING, error.message, error.hint)
    return _summary_of(model, task, checks)


def _summary_of(model: str, task: str, checks: list[Check]) -> Check:
    """Ready, or what is missing."""
    wanting = [check.name for check in checks if check.state == MISSING]
    name = f"{model} {task}".strip()
    if not wanting:
        return Check(name, OK, "ready")
    return Check(name, WARNING, f"missing: {', '.join(wanting)}", f"navicache doctor --model {model}")


def model_checks(model: str, task: str) -> list[Check]:
    """All checks of one family.

    Raises:
        OtherPython: the model has an environment, and this is not it.
        UsageError: no such model or task.
    """
    from backends.registry import backend_names

    known = dict.fromkeys([*load_presets(), *backend_names()])
    if model not in known:
        raise UsageError(unknown("model", model, known), "`navicache models` lists them")
    enter_environment(model)
    task = _task(model, task)
    weights = _setting("weights")
    rows = _machine_checks(_gpu_needed(model, weights))
    no_torch = bool(rows[1].exit_code)
    if model == TINY:
        return rows if no_torch else [*rows, *_tiny_checks(weights), *schedules_checks(model, task)]
    installation = _installation(model)
    if installation is not None and not no_torch and _gpu_needed(model, weights):
        preset = load_presets().get(model)
        # Where it is the default, the makers' figure has it already.
        offload = preset is not None and "offload" in preset.takes and not preset.defaults.get("offload")
        rows.insert(3, memory_check(installation.memory.get(task), offload, _plan(model, task)))
    rows += [Check("environment", OK, note) for note in environment_notes(model)[:1]]
    return [*rows, *_family_checks(model, task, weights, no_torch), *schedules_checks(model, task)]


def _plan(model: str, task: str) -> Plan | None:
    """What `generate` would make without further options; None where it would not start."""
    from navicache_cli.plan.memory import plan_without_pictures

    try:
        return plan_without_pictures({"model": model, "task": task}, [], None, dict(os.environ))
    except UsageError:  # Of the environment, which may be meant for another family.
        return None


def _machine_checks(gpu_needed: bool) -> list[Check]:
    """Python, torch, GPU and the programs around them; the second row is torch's."""
    torch = torch_check()
    gpu = [] if torch.exit_code else [gpu_check(gpu_needed)]
    return [python_check(), torch, *gpu, flash_attention_check(), ffmpeg_check()]


def _tiny_checks(given: str) -> list[Check]:
    """The weights that come with the package, or those given; they are small, so they are loaded."""
    from backends.tiny.backend import TinyPipeline, shipped_weights

    folder = expand_user(given) if given else shipped_weights()
    try:
        TinyPipeline(folder, "cpu")
    except WeightsError as error:
        hint = "unset NAVICACHE_WEIGHTS" if given else error.hint
        return [missing("tiny weights", error.message, hint, WeightsError)]
    return [Check("tiny weights", OK, f"complete at {folder}")]


def _family_checks(model: str, task: str, weights: str, no_torch: bool) -> list[Check]:
    """Code, packages and weights of a family other than tiny; the code is imported if it can be."""
    from backends.registry import backend_names

    rows = []
    if model not in backend_names():
        rows.append(
            missing(
                "backend",
                f"expected navicache's installation to list {model}, found it without",
                "install navicache again: pip install --upgrade navicache, or pip install -e . in a checkout",
            )
        )
    if _installation(model) is None:
        return rows or [_self_check(model), *_weights_rows(model, weights)]
    family, installation, checkout, problem = _find_code(model)
    rows += repository_checks(family, installation, checkout, problem)
    rows.append(package_check(family, installation))
    if checkout is not None and rows[-1].state != MISSING and not no_torch:
        rows.append(import_check(family, checkout))
    if weights in (RANDOM, SMALL):
        return [*rows, Check("weights", OK, f"{weights}: noise, for measurements")]
    named = installation.weights_called(installation.weights_name(task, _size(model, task)))
    assert named is not None, "weights_name names one of the weights"
    return rows + weights_checks(family, named, weights, checkout, _fp8())


def _self_check(model: str) -> Check:
    """A family that says itself what it still needs."""
    from backends.registry import families, problem_of

    package, own = next((one.package, one.own) for one in families() if one.name == model)
    if fault := preset_faults().get(model):
        return missing(model, fault.message, fault.hint)
    if problem := problem_of(model):
        hint = f'pip install "navicache[{model}]"' if own else f"see what {package} says of its installation"
        return missing(model, problem, hint)
    return Check(model, OK, f"ready, by {package}")


def _weights_rows(model: str, weights: str) -> list[Check]:
    """A row for the weights of a family whose backend looks into them; none for others."""
    from backends.registry import get_backend, problem_of

    preset = load_presets().get(model)
    if preset is None or not preset.defaults_in_weights or problem_of(model):
        return []
    if not weights:
        return [Check("weights", OK, "chosen with --weights or NAVICACHE_WEIGHTS")]
    backend: Any = get_backend(model)
    try:
        backend.defaults({"weights": weights, "revision": _setting("revision")})
    except NavicacheError as error:
        return [missing("weights", error.message, error.hint, WeightsError)]
    return [Check("weights", OK, f"a pipeline at {weights}")]


def _find_code(model: str) -> tuple[str, Installation, Checkout | None, str]:
    """The first of a family's repositories that is there, else its own one and why there is none."""
    from backends.official.installation import installations
    from backends.official.repositories import choose_repository

    variants = {
        one.official: (name, one) for name, one in installations().items() if one.official.name == model
    }
    try:
        official, checkout = choose_repository([*variants], _setting("repo"))
    except BackendError as error:
        return *next(iter(variants.values())), None, error.message
    return *variants[official], checkout, ""


def _installation(model: str) -> Installation | None:
    from backends.official.installation import installations

    found = installations().get(model)
    return found if found and found.official.name == model else None


def _task(model: str, task: str) -> str:
    """The task asked for, or the preset's; "" for a family without a preset.

    Raises:
        UsageError: the model has no such task.
    """
    preset = load_presets().get(model)
    if preset is None:
        return task
    chosen = task or _setting("task") or str(preset.defaults["task"])
    if chosen not in preset.tasks:
        raise unknown_task(preset, chosen)
    return chosen


def _size(model: str, task: str) -> str:
    preset = load_presets()[model]
    size = _setting("size") or preset.tasks[task].get("size") or preset.defaults["size"]
    try:
        return settle_size(preset, read_option(preset, "size", size), "")[0]
    except ValueError as error:
        raise UsageError(f"size expects {error}, found {size[:60]!r}", "unset NAVICACHE_SIZE") from None


def _fp8() -> bool:
    """Whether `generate` would want fp8 weights.

    Raises:
        UsageError: the environment variable is neither yes nor no.
    """
    try:
        return read_switch(_setting("fp8"))
    except ValueError as error:
        found = _setting("fp8")[:60]
        raise UsageError(f"fp8 expects {error}, found {found!r}", "unset NAVICACHE_FP8") from None


def _setting(option: str) -> str:
    """What `generate` would take from the environment for an option."""
    return read_text(environment_layer(dict(os.environ)).values.get(option))


def _gpu_needed(model: str, weights: str) -> bool:
    return _installation(model) is not None and weights != SMALL


def _row(check: Check) -> dict[str, str]:
    return {"name": check.name, "state": check.state, "found": check.found, "fix": check.hint}


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("found, and → how to fix it", overflow="fold")
    for check in checks:
        state = Text(check.state, style=_COLOURS[check.state])
        found = Text(check.found)
        if check.hint:
            found.append(f"\n→ {check.hint}", style="cyan")
        table.add_row(check.name, state, found)
    return table
