"""What a comparison is asked for, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from navicache_cli.compare.peers.peers import check_installed, check_offered
from navicache_cli.compare.settings import (
    BASELINE,
    OWN_RUNNER,
    Setting,
    choose_settings,
    known_methods,
    parse_names,
    parse_sweep,
)
from navicache_cli.compare.settings_file import read_settings
from navicache_cli.errors import UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.plan import MOST_VIDEOS, Plan, resolve
from navicache_cli.plan.presets import Preset, preset_for
from navicache_cli.plan.prompts import read_prompts

# What a comparison decides itself; a configuration shared with `generate` may say otherwise.
_DECIDED_HERE = options_with(Use.COMPARED)
# What is measured and where it goes are matters of a comparison too, but for its folder.
_NOT_SHARED = {*_DECIDED_HERE, *options_with(Use.MEASURED | Use.OUTPUT)} - {"output_dir"}
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Request:
    """What is asked for beyond the options of a plan; see `navicache compare --help`."""

    methods: str | None = None
    modes: str | None = None
    sweeps: tuple[str, ...] = ()
    settings: Path | None = None
    prompts: Path | None = None
    seeds: int = 1
    lpips: bool | None = None
    page: bool = True
    as_json: bool = False


@dataclass(frozen=True)
class Task:
    """The request, read and checked."""

    layers: list[Layer]
    base: Plan
    settings: list[Setting]
    prompts: list[str]
    seeds: list[int]


def shared_layers(layers: list[Layer]) -> tuple[list[Layer], list[str]]:
    """Take out of the user's layers what a comparison decides itself, and say so."""
    kept, notes = [Layer("default", {"output_dir": "compare"})], []
    for layer in layers:
        values = {k: v for k, v in layer.values.items() if k not in _NOT_SHARED}
        kept.append(replace(layer, values=values))
        notes += [
            f"compare chooses the {name} itself; {layer.source(name)} is ignored"
            for name in _DECIDED_HERE
            if name in layer.values
        ]
    return kept, notes


def read_request(request: Request, layers: list[Layer]) -> Task:
    """Read and check what is asked for.

    Raises:
        UsageError: an option, a setting or a file that makes no sense; or a cache of another library that the
            model or this machine does not have.
    """
    base = resolve([*layers, Layer("compare", BASELINE.values)])
    preset = preset_for(base.model)
    settings = _settings(request, preset, base.steps)
    if not 1 <= request.seeds <= MAX_SEEDS:
        raise UsageError(f"seeds expects 1 to {MAX_SEEDS}, found {request.seeds}", "--seeds 3")
    if request.prompts is not None:
        prompts = read_prompts(request.prompts)
    elif base.provenance["prompt"].startswith("preset") and preset.examples:
        prompts = preset.examples
    else:
        prompts = [base.prompt]
    _check_count(len(prompts), request.seeds, len(settings))
    return Task(layers, base, settings, prompts, [base.seed + i for i in range(request.seeds)])


def _check_count(prompts: int, seeds: int, settings: int) -> None:
    """Check that the videos asked for, one more per prompt and seed for the baseline, are not too many."""
    count = prompts * seeds * (settings + 1)
    if count > MOST_VIDEOS:
        raise UsageError(
            f"expected at most {MOST_VIDEOS:,} videos in one comparison, found {count:,}: {prompts} prompts, "
            f"{seeds} seeds, {settings} settings and the baseline",
            f"--seeds {max(1, MOST_VIDEOS // (prompts * (settings + 1)))}, or fewer prompts",
        )


def _settings(request: Request, preset: Preset, steps: int) -> list[Setting]:
    """What to hold against the baseline: of the file, and of methods, modes and sweeps if any are named."""
    modes = list(preset.modes)
    found = [] if request.settings is None else read_settings(request.settings, steps)
    if not found or request.methods is not None or request.sweeps:
        chosen = choose_settings(
            None if request.methods is None else parse_names(request.methods, "method", known_methods()),
            None if request.modes is None else parse_names(request.modes, "mode", modes),
            [parse_sweep(text) for text in request.sweeps],
            steps,
            modes,
            preset.peers,
            by_budget="speedup" in preset.budget,
        )
        found = list({setting.name: setting for setting in [*found, *chosen]}.values())
    for setting in found:
        if setting.runner != OWN_RUNNER:
            check_offered(setting.arguments["peer"], preset)
            check_installed(setting.arguments["peer"])
    return found
