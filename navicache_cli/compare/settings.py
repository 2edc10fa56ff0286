"""What is compared: methods at their modes or over swept options, and plain fewer steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cache.factory import METHODS, PREDICTED_METHODS, PREDICTORS
from ..errors import UsageError
from ..options import OPTIONS, read_integer, read_number
from ..presets import OFF, unknown
from ..sweep import SWEEP_FORM, evenly_spaced

FEWER_STEPS = "fewer-steps"
BUDGETS = (1.5, 2.0, 2.5)  # of steps, for plain fewer steps where no sweep names other numbers
OWN_RUNNER = "navicache"
MAX_SWEEP_POINTS = 200
# Numbers that decide what is generated, not how it is cached: the baseline shares them.
_SHARED_NUMBERS = (
    "frames", "fps", "steps", "seed", "guidance", "embedded_guidance", "shift", "ulysses", "ring",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One way to generate.

    Attributes:
        name: as tables show it, unique within a comparison.
        method: the line of the frontier plot it belongs to.
        values: options of the plan that it sets.
        runner: name of the runner that makes its videos.
        arguments: what else its runner is told.
        optional: nobody asked for it by name; where it does not fit the model it is left out.
    """

    name: str
    method: str
    values: dict[str, Any]
    runner: str = OWN_RUNNER
    arguments: dict[str, Any] = field(default_factory=dict)
    optional: bool = False


BASELINE = Setting(OFF, OFF, {"mode": OFF, "method": OFF})


@dataclass(frozen=True)
class Sweep:
    """Values of one option of one method."""

    method: str
    option: str
    values: tuple[float, ...]


def known_methods() -> list[str]:
    """Methods that can be compared with the baseline: those of the cache, and fewer steps."""
    return [*(name for name in METHODS if name != OFF), FEWER_STEPS]


def variants() -> list[str]:
    """Methods with another predictor than the one they are published with, such as `navicache+calibrated`."""
    return [f"{method}+{predictor}" for method in PREDICTED_METHODS for predictor in PREDICTORS[1:]]


def _of_method(method: str) -> dict[str, Any]:
    """The options a method's name stands for."""
    name, plus, predictor = method.partition("+")
    return {"method": name, "predictor": predictor} if plus else {"method": name}


def parse_names(text: str, what: str, known: Sequence[str]) -> list[str]:
    """Read names with commas between, each once; the baseline's name is passed over, it is always run.

    Args:
        text: such as "navicache,easycache".
        what: "method" or "mode", for the error.
        known: all names there are.

    Raises:
        UsageError: a name is not known, or there is none.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in (*known, OFF):
            raise UsageError(unknown(what, name, known), f"--{what}s {','.join(known)}")
    if not names:
        raise UsageError(
            f"--{what}s expects names with commas between, found {text[:60]!r}", f"--{what}s {known[0]}"
        )
    return [name for name in names if name != OFF]


def parse_sweep(text: str) -> Sweep:
    """Read `method.option=low:high:count`: so many values, evenly spaced, ends included.

    Raises:
        UsageError: another form, an unknown method, or an option that cannot be swept.
    """
    match = SWEEP_FORM.fullmatch(text.strip())
    hint = "--sweep navicache.threshold=0.02:0.2:8"
    if not match:
        raise UsageError(f"--sweep expects method.option=low:high:count, found {text[:60]!r}", hint)
    method, option = match[1], match[2].replace("-", "_")
    if method not in (*known_methods(), *variants()):
        raise UsageError(f"--sweep: {unknown('method', method, [*known_methods(), *variants()])}", hint)
    options = _sweepable(method)
    if option not in options:
        raise UsageError(f"--sweep: {unknown(f'option of {method}', option, options)}", hint)
    try:
        low, high, count = read_number(match[3]), read_number(match[4]), read_integer(match[5])
    except ValueError as error:
        raise UsageError(f"--sweep expects {error} in low:high:count, found {text[:60]!r}", hint) from None
    if not 1 <= count <= MAX_SWEEP_POINTS:
        raise UsageError(f"--sweep expects a count of 1 to {MAX_SWEEP_POINTS}, found {count}", hint)
    grid = evenly_spaced(low, high, count)
    if OPTIONS[option] is read_integer:
        grid = [round(value) for value in grid]
    return Sweep(method, option, tuple(dict.fromkeys(grid)))


def _sweepable(method: str) -> list[str]:
    if method == FEWER_STEPS:
        return ["steps"]
    numbers = (read_number, read_integer)
    return [name for name, read in OPTIONS.items() if read in numbers and name not in _SHARED_NUMBERS]


def choose_settings(
    methods: list[str] | None,
    modes: list[str] | None,
    sweeps: Iterable[Sweep],
    steps: int,
    all_modes: list[str],
) -> list[Setting]:
    """List the settings to hold against the baseline.

    A method with a sweep is run over the sweep, one without at the modes; where modes are named, at both.

    Args:
        methods: names, or None for the swept ones, or for all if nothing is swept.
        modes: names, or None for all.
        sweeps: further settings; their methods need not be among `methods`.
        steps: of the baseline.
        all_modes: that the model has.

    Raises:
        UsageError: nothing is left to compare, or a sweep asks for more steps than the baseline has.
    """
    sweeps = list(sweeps)
    swept = [sweep.method for sweep in sweeps]
    by_default = methods is None and not sweeps
    chosen = known_methods() if by_default else [*(methods or []), *swept]
    found: list[Setting] = []
    for method in dict.fromkeys(chosen):
        if method not in swept or (modes is not None and method != FEWER_STEPS):
            found += _by_mode(method, all_modes if modes is None else modes, steps, by_default)
        for sweep in sweeps:
            if sweep.method == method:
                found += _by_sweep(sweep, steps)
    if not found:
        raise UsageError("expected a method to hold against the baseline, found none", "--methods navicache")
    return list({setting.name: setting for setting in found}.values())


def _by_mode(method: str, modes: list[str], steps: int, optional: bool) -> list[Setting]:
    if method == FEWER_STEPS:
        counts = dict.fromkeys(max(1, round(steps / budget)) for budget in BUDGETS)
        return [_fewer_steps(count) for count in counts]
    return [
        Setting(f"{method} {mode}", method, {"mode": mode, **_of_method(method)}, optional=optional)
        for mode in modes
    ]


def _by_sweep(sweep: Sweep, steps: int) -> list[Setting]:
    if sweep.method != FEWER_STEPS:
        name = sweep.option.replace("_", "-")
        return [
            Setting(
                f"{sweep.method} {name} {value:g}",
                sweep.method,
                {**_of_method(sweep.method), sweep.option: value},
            )
            for value in sweep.values
        ]
    if not all(1 <= value <= steps for value in sweep.values):
        raise UsageError(
            f"--sweep {FEWER_STEPS}.steps expects 1 to {steps} steps, the baseline's; "
            f"found {min(sweep.values):g} to {max(sweep.values):g}",
            f"--sweep {FEWER_STEPS}.steps={max(1, steps // 3)}:{steps}:4",
        )
    return [_fewer_steps(int(value)) for value in sweep.values]


def _fewer_steps(count: int) -> Setting:
    """The same sampler and schedule with fewer steps, nothing cached."""
    return Setting(f"{FEWER_STEPS} {count}", FEWER_STEPS, {"mode": OFF, "method": OFF, "steps": count})
