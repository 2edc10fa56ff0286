"""`--settings FILE`: settings by name, for comparisons that modes and sweeps cannot say.

    navicache 2x: {method: navicache, threshold: 0.066}
    pab 1.5x: {method: pab, broadcast: self=3 cross=6, window: 0 1000}
    half the steps: {method: fewer-steps, steps: 25}
    theirs 2x: {method: "diffusers:fbcache", threshold: 0.12}
    dual 2x: {method: navicache, estimator: dual, threshold: 0.07, line: navicache dual}

`line` names the line of the frontier plot a setting belongs to; left out, it is the method.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.compare.peers.peers import PEERS
from navicache_cli.compare.settings import (
    FEWER_STEPS,
    Setting,
    fewer_steps,
    known_methods,
    options_of,
    peer_setting,
)
from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import own_settings
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import OPTIONS, options_with
from navicache_cli.plan.presets import OFF, read_yaml, unknown
from navicache_cli.values import read_integer, read_number, read_text

_MOST_CHARACTERS = 60  # of a name, which heads a row of tables


def read_settings(path: Path, steps: int) -> list[Setting]:
    """Read a YAML mapping of names to a method and its options.

    Args:
        path: the file.
        steps: of the baseline.

    Raises:
        UsageError: it cannot be read, a method or an option is not known, or a value is of the wrong kind.
    """
    found = [_setting(name, facts, path, steps) for name, facts in read_yaml(path).items()]
    if not found:
        raise UsageError(f"expected settings in {path}, found none", _example())
    return found


def _setting(name: str, facts: Any, path: Path, steps: int) -> Setting:
    label = " ".join(name.split())
    if not 1 <= len(label) <= _MOST_CHARACTERS or label == OFF:
        raise UsageError(
            f"{path} expects names of 1 to {_MOST_CHARACTERS} characters other than 'off', "
            f"found {name[:70]!r}",
            _example(),
        )
    if not isinstance(facts, dict) or "method" not in facts:
        raise UsageError(f"{path} expects a method under {label!r}, found {str(facts)[:60]!r}", _example())
    options = {str(key).replace("-", "_"): value for key, value in facts.items()}
    try:
        method = read_text(options.pop("method"))
        line = read_text(options.pop("line", method))
    except ValueError as error:
        raise UsageError(f"{path}, {label}: method and line expect {error}", _example()) from None
    if method not in known_methods():
        raise UsageError(f"{path}, {label}: {unknown('method', method, known_methods())}", _example())
    try:
        return replace(_read(label, method, options, steps), method=line)
    except ValueError as error:
        raise UsageError(f"{path}, {label}: expected {error}", _example()) from None
    except UsageError as error:
        raise UsageError(f"{path}, {label}: {error.message}", error.hint) from None


def _read(label: str, method: str, options: dict[str, Any], steps: int) -> Setting:
    if method in PEERS:
        return peer_setting(label, method, {knob: read_number(value) for knob, value in options.items()})
    known = ["steps"] if method == FEWER_STEPS else _options_taken(options_of(method))
    for option in options:
        if option not in known:
            raise UsageError(unknown(f"option of {method}", option, known), _example())
    if method == FEWER_STEPS:
        count = read_integer(options.get("steps"))
        if not 1 <= count <= steps:
            raise ValueError(f"1 to {steps} steps, found {count}")
        return fewer_steps(count, label)
    return Setting(label, method, {**options_of(method), **options})


def _options_taken(named: dict[str, Any]) -> list[str]:
    """What may be said of a method beside what its name, such as `navicache+calibrated`, says already."""
    method = named["method"]
    predicted = method in PREDICTED_METHODS
    options = [
        option for option in options_with(Use.CACHE) if predicted or not OPTIONS[option].use & Use.PREDICTED
    ]
    return [option for option in [*options, *own_settings(method)] if option not in named]


def _example() -> str:
    return "write `navicache 2x: {method: navicache, threshold: 0.066}`"
