"""What is compared: methods at their modes or over swept options, plain fewer steps, and peers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from navicache_cli.cache.policies.factory import METHODS, PREDICTED_METHODS, PREDICTORS
from navicache_cli.compare.peers.peers import PEERS, check_knobs, installed
from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import READERS, own_settings
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.presets import OFF, unknown
from navicache_cli.plan.sweep import SWEEP_FORM, evenly_spaced
from navicache_cli.values import read_integer, read_number, split_commas

FEWER_STEPS = "fewer-steps"
BUDGETS = (1.5, 2.0, 2.5)  # of steps, for plain fewer steps where no sweep names other numbers
OWN_RUNNER = "navicache"
MAX_SWEEP_POINTS = 200


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


def own_methods() -> list[str]:
    """The methods of the cache, and fewer steps."""
    return [*(name for name in METHODS if name != OFF), FEWER_STEPS]


def known_methods() -> list[str]:
    """All that can be compared with the baseline."""
    return [*own_methods(), *variants(), *PEERS]


def variants() -> list[str]:
    """Methods with another predictor than the one they are published with, such as `navicache+calibrated`."""
    return [f"{method}+{predictor}" for method in PREDICTED_METHODS for predictor in PREDICTORS[1:]]


def options_of(method: str) -> dict[str, Any]:
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
    names = list(dict.fromkeys(filter(None, split_commas(text))))
    for name in names:
        if name not in (*known, OFF):
            raise UsageError(unknown(what, name, known), f"--{what}s {','.join(known)}")
    if not names:
        raise UsageError(
            f"--{what}s expects names separated by commas, found {text[:60]!r}", f"--{what}s {known[0]}"
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
    if method not in known_methods():
        raise UsageError(f"--sweep: {unknown('method', method, known_methods())}", hint)
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
    if _is_whole(method, option):
        grid = [round(value) for value in grid]
    return Sweep(method, option, tuple(dict.fromkeys(grid)))


def _is_whole(method: str, option: str) -> bool:
    if method in PEERS:
        return isinstance(PEERS[method].knobs[option], int)
    return READERS[option] is read_integer


def _sweepable(method: str) -> list[str]:
    if method == FEWER_STEPS:
        return ["steps"]
    if method in PEERS:
        return list(PEERS[method].knobs)
    keys = [*options_with(Use.CACHE), *own_settings(options_of(method)["method"])]
    return [key for key in keys if READERS[key] in (read_number, read_integer)]


def choose_settings(
    methods: list[str] | None,
    modes: list[str] | None,
    sweeps: Iterable[Sweep],
    steps: int,
    all_modes: list[str],
    peers: Mapping[str, dict[str, Any]] | None = None,
    by_budget: bool = False,
) -> list[Setting]:
    """List the settings to hold against the baseline.

    A method with a sweep is run over the sweep, one without at the modes; where modes are named, at both.

    Args:
        methods: names, or None for the swept ones, or for all if nothing is swept.
        modes: names, or None for all.
        sweeps: further settings; their methods need not be among `methods`.
        steps: of the baseline.
        all_modes: that the model has.
        peers: what the model's preset says of them; see `Preset.peers`. If nothing is asked for by
            name, those of them are run whose library is there.
        by_budget: whether the model has budgets where others have modes, unless modes are named.

    Raises:
        UsageError: nothing is left to compare, or a sweep asks for more steps than the baseline has.
    """
    sweeps = list(sweeps)
    swept = [sweep.method for sweep in sweeps]
    by_default = methods is None and not sweeps
    said = peers or {}
    for name in said:
        if name not in PEERS:
            raise UsageError(unknown("peer in the model's preset", name, PEERS), "correct the preset")
    chosen = [*(methods or []), *swept]
    if by_default:
        own = [*PREDICTED_METHODS, FEWER_STEPS] if by_budget else own_methods()
        chosen = [*own, *(name for name in said if installed(name))]
    found: list[Setting] = []
    for method in dict.fromkeys(chosen):
        if method not in swept or (modes is not None and method != FEWER_STEPS):
            wanted = all_modes if modes is None else modes
            if method in PEERS:
                found += _peer_by_mode(method, said.get(method, {}), wanted, by_default)
            elif by_budget and modes is None and options_of(method)["method"] in PREDICTED_METHODS:
                found += _by_budget(method)
            else:
                found += _by_mode(method, wanted, steps, by_default)
        for sweep in sweeps:
            if sweep.method == method:
                found += _by_sweep(sweep, steps, said.get(method, {}))
    if not found:
        raise UsageError("expected a method to compare with the baseline, found none", "--methods navicache")
    return list({setting.name: setting for setting in found}.values())


def _by_mode(method: str, modes: list[str], steps: int, optional: bool) -> list[Setting]:
    if method == FEWER_STEPS:
        counts = dict.fromkeys(max(1, round(steps / budget)) for budget in BUDGETS)
        return [fewer_steps(count) for count in counts]
    return [
        Setting(f"{method} {mode}", method, {"mode": mode, **options_of(method)}, optional=optional)
        for mode in modes
    ]


def _by_budget(method: str) -> list[Setting]:
    return [
        Setting(f"{method} {budget:g}x", method, {"speedup": budget, **options_of(method)})
        for budget in BUDGETS
    ]


def _by_sweep(sweep: Sweep, steps: int, said: Mapping[str, Any]) -> list[Setting]:
    name = sweep.option.replace("_", "-")
    if sweep.method in PEERS:
        return [
            peer_setting(
                f"{sweep.method} {name} {value:g}",
                sweep.method,
                {**_knobs_said(said), sweep.option: value},
            )
            for value in sweep.values
        ]
    if sweep.method != FEWER_STEPS:
        return [
            Setting(
                f"{sweep.method} {name} {value:g}",
                sweep.method,
                {**options_of(sweep.method), sweep.option: value},
            )
            for value in sweep.values
        ]
    if not all(1 <= value <= steps for value in sweep.values):
        raise UsageError(
            f"--sweep {FEWER_STEPS}.steps expects 1 to {steps} steps, the baseline's; "
            f"found {min(sweep.values):g} to {max(sweep.values):g}",
            f"--sweep {FEWER_STEPS}.steps={max(1, steps // 3)}:{steps}:4",
        )
    return [fewer_steps(int(value)) for value in sweep.values]


def fewer_steps(count: int, label: str = "") -> Setting:
    """The same sampler and schedule with fewer steps, nothing cached."""
    values = {"mode": OFF, "method": OFF, "steps": count}
    return Setting(label or f"{FEWER_STEPS} {count}", FEWER_STEPS, values)


def _peer_by_mode(name: str, said: Mapping[str, Any], modes: list[str], optional: bool) -> list[Setting]:
    if not PEERS[name].knobs:
        return [peer_setting(name, name, {}, optional)]
    by_mode = said.get("modes", {})
    return [
        peer_setting(f"{name} {mode}", name, {**_knobs_said(said), **by_mode.get(mode, {})}, optional)
        for mode in modes
    ]


def _knobs_said(said: Mapping[str, Any]) -> dict[str, Any]:
    return {knob: value for knob, value in said.items() if knob != "modes"}


def peer_setting(label: str, name: str, knobs: dict[str, Any], optional: bool = False) -> Setting:
    """A peer with these knobs; the others are the library's own.

    Raises:
        UsageError: a knob is not known, or out of range.
    """
    peer = PEERS[name]
    arguments = {"peer": name, **peer.knobs, **check_knobs(name, knobs)}
    return Setting(label, name, dict(BASELINE.values), peer.package, arguments, optional)
