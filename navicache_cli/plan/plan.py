"""From options to a plan: one value for each option, with where it came from.

Later layers win: preset < configuration file < environment < flags. A plan is checked as far as it can be
without loading a model, so that a typing error costs no waiting.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from navicache_cli.cache.policies.budget import budget_name, most_align_steps, share_of
from navicache_cli.cache.policies.settings import NoSettings
from navicache_cli.errors import UsageError
from navicache_cli.plan.check import check
from navicache_cli.plan.choices import budget_layer, feasible_speedup, pick, schedule_layer, weights_layers
from navicache_cli.plan.keys import own_settings
from navicache_cli.plan.layers import Layer, method_layers, option_layers, preset_layers
from navicache_cli.plan.merge import given_in, merge, nothing
from navicache_cli.plan.method import settings_from
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import BUILT_IN, OPTIONS, options_with
from navicache_cli.plan.presets import OFF, Preset, preset_for, unknown, unknown_task
from navicache_cli.plan.schedules import SHIPPED
from navicache_cli.plan.sizes import read_option, settle_size
from navicache_cli.values import read_integer, read_size, split_commas

if TYPE_CHECKING:
    from navicache_cli.report.report import PlanEntry

MOST_VIDEOS = 1_000_000  # of one command


@dataclass(frozen=True)
class Plan:
    """Everything a generation needs to know, and the source of each value.

    A field for each row of `options.OPTIONS`, which says what it is; and:

    Attributes:
        settings: of the method alone; see `cache.policies.factory.Method`.
        provenance: name of an option or setting to a description of the layer its value is from.
    """

    model: str
    task: str
    mode: str
    method: str
    prompt: str
    negative_prompt: str
    image: str
    last_image: str
    reference_images: str
    source_video: str
    source_mask: str
    size: str
    aspect_ratio: str
    frames: int
    fps: int
    steps: int
    seed: int
    guidance: float
    embedded_guidance: float
    low_noise_guidance: float
    shift: float
    solver: str
    call: str
    threshold: float
    align_steps: int
    estimator: str
    predictor: str
    speedup: float
    compute: float
    schedule: str
    max_error: float
    settings: Any
    weights: str
    repo: str
    offload: bool
    t5_cpu: bool
    offload_by: str
    dtype: str
    revision: str
    fp8: bool
    ulysses: int
    ring: int
    fsdp: bool
    output: str
    output_dir: str
    overwrite: bool
    baseline: bool
    trajectory: bool
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Pixels per row."""
        return int(self.size.split("x")[0])

    @property
    def height(self) -> int:
        """Pixels per column."""
        return int(self.size.split("x")[1])

    @property
    def budget(self) -> float:
        """Share of the steps to compute, by `speedup` or `compute`; 0 where neither is asked for."""
        return share_of(self.speedup, self.compute)

    @property
    def pace(self) -> str:
        """The mode, or the budget in its place, such as 2x."""
        return budget_name(self.budget) if self.budget else self.mode

    def values(self) -> dict[str, Any]:
        """All options and the method's own settings, by name."""
        found: dict[str, Any] = {}
        for one in fields(self):
            if one.name == "settings":
                found.update(asdict(self.settings))
            elif one.name != "provenance":
                found[one.name] = getattr(self, one.name)
        return found

    def uncached(self, **changes: Any) -> Plan:
        """The plan of the same video with every step computed and nothing recorded."""
        same: dict[str, Any] = {
            "mode": OFF,
            "method": OFF,
            "settings": NoSettings(),
            "schedule": "",
            "trajectory": False,
        }
        return replace(self, **{**same, **changes})

    def files(self) -> dict[str, list[str]]:
        """The paths of files that the generation reads, by the option or setting that names any."""
        values = self.values()
        found = {name: split_commas(values[name]) for name in options_with(Use.FILE) if values[name]}
        if self.schedule not in ("", SHIPPED):
            found["schedule"] = [self.schedule]
        own = own_settings(self.method).items()
        return {**found, **{name: [values[name]] for name, one in own if one.file and values[name]}}


if [one.name for one in fields(Plan) if one.name not in ("settings", "provenance")] != list(OPTIONS):
    raise TypeError("expected the fields of Plan to be the rows of the table of options, in its order")


def plan_document(plan: Plan) -> dict[str, PlanEntry]:
    """Return each option with its value and its source, as reports hold them."""
    from navicache_cli.report.report import PlanEntry

    return {key: PlanEntry(value, plan.provenance[key]) for key, value in plan.values().items()}


def resolve(layers: list[Layer]) -> Plan:
    """Merge layers, weakest first, over the preset they select, and check the result.

    Raises:
        UsageError: an unknown key, a value of the wrong kind, or one the model cannot do.
    """
    preset = preset_for(pick("model", BUILT_IN["model"], layers))
    layers = [*weights_layers(preset, layers), budget_layer(preset, layers), schedule_layer(layers), *layers]
    choice = _choose(preset, layers)
    given = given_in(merge(_preset_part(preset, choice), layers, partial(read_option, preset)))
    method = given["method"].value
    if choice.mode == OFF and method != OFF:
        raise UsageError(
            "mode off computes every step, "
            f"but method {method[:40]!r} was asked for ({given['method'].source})",
            "drop --method, or choose --mode fast, mid or slow",
        )
    values = {key: one.value for key, one in given.items()}
    sources = {key: one.source for key, one in given.items()}
    share = share_of(values["speedup"], values["compute"])
    if share and sources["align_steps"].startswith(f"preset {preset.model}"):
        # Alignment is paid from the budget; the modes' 10 of 50 steps would leave half of it for the rest.
        most = most_align_steps(values["steps"], share)
        values["align_steps"] = min(values["align_steps"], most)
        sources["align_steps"] = f"{sources['align_steps']}, at most {most} on this budget"
    if share and sources["speedup"].startswith(f"preset {preset.model}"):
        values["speedup"] = feasible_speedup(values["speedup"], values["steps"], values["align_steps"])
    values["size"], ratio = settle_size(preset, values["size"], values["aspect_ratio"])
    if ratio != values["aspect_ratio"]:
        values["aspect_ratio"], sources["aspect_ratio"] = ratio, sources["size"]
    plan = Plan(
        **{name: values[name] for name in OPTIONS},
        settings=settings_from(method, preset, values, sources),
        provenance={key: sources.get(key, "default") for key in (*OPTIONS, *own_settings(method))},
    )
    check(plan, preset)
    return plan


class _Choice(NamedTuple):
    """What of a preset's values hold is decided by these.

    Attributes:
        size: one that the task has values of its own for, or "".
        several: whether several processes share the work.
    """

    task: str
    mode: str
    size: str
    several: bool
    method: str


def _choose(preset: Preset, layers: list[Layer]) -> _Choice:
    """Find out what layers choose among a preset's values.

    Raises:
        UsageError: the model has no such task or mode.
    """
    task = pick("task", preset.defaults["task"], layers)
    if task not in preset.tasks:
        raise unknown_task(preset, task)
    mode = pick("mode", BUILT_IN["mode"], layers)
    if mode not in (*preset.modes, OFF):
        raise UsageError(unknown("mode", mode, [*preset.modes, OFF]), "`navicache presets` shows the modes")
    spec, size, several = preset.tasks[task], "", False
    with suppress(ValueError):  # What cannot be read is reported with its source, where all is read.
        size = read_size(pick("size", spec.get("size", preset.defaults.get("size", "")), layers))
    with suppress(ValueError):
        ulysses, ring = (read_integer(pick(key, "1", layers)) for key in ("ulysses", "ring"))
        several = ulysses * ring > 1
    choice = _Choice(task, mode, size if size in spec.get("by_size", {}) else "", several, "")
    said = preset_layers(preset, task, mode, choice.size, several)
    return choice._replace(method=pick("method", BUILT_IN["method"], [*said, *layers]))


@lru_cache(maxsize=256)
def _preset_part(preset: Preset, choice: _Choice) -> DictConfig:
    """Merge what a preset says over what is built in, once for all plans that choose alike."""
    task, mode, size, several, method = choice
    layers = [
        Layer("default", BUILT_IN),
        *preset_layers(preset, task, mode, size, several),
        *method_layers(preset, task, size, mode, method),
    ]
    return merge(nothing(), layers, partial(read_option, preset))


def build_plan(
    flags: dict[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> Plan:
    """Merge all layers into a checked plan; see `option_layers`.

    Raises:
        UsageError: see `plan.resolve`.
    """
    return resolve(option_layers(flags, assignments, config, environment))
