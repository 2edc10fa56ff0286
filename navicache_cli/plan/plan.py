"""From options to a plan: one value for each option, with where it came from.

Later layers win: preset < configuration file < environment < flags. A plan is checked as far as it can be
without loading a model, so that a typing error costs no waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from navicache_cli.cache.policies.budget import budget_name, most_align_steps, share_of
from navicache_cli.cache.policies.factory import ESTIMATORS, PREDICTORS
from navicache_cli.errors import UsageError
from navicache_cli.plan.method import check_method, method_layers
from navicache_cli.plan.options import (
    BUILT_IN,
    ENVIRONMENT_ALIASES,
    FAMILY_OPTIONS,
    INPUTS,
    OPTIONS,
    TASK_FACTS,
    read_integer,
    read_size,
    read_text,
)
from navicache_cli.plan.presets import OFF, Preset, preset_for, unknown
from navicache_cli.plan.sizes import read_option, settle_size, sizes_in_pixels

if TYPE_CHECKING:
    from navicache_cli.report.report import PlanEntry

MAX_PROMPT_CHARACTERS = 20_000
MOST_VIDEOS = 1_000_000  # of one command


@dataclass(frozen=True)
class Plan:
    """Everything a generation needs to know, and the source of each value.

    Attributes:
        model, task, mode, method: what runs and how it is cached.
        prompt, negative_prompt: what is asked for.
        image, last_image: paths of the first and last frame, or "".
        reference_images: paths of pictures of what the video shows, with commas between, or "".
        source_video, source_mask: paths of a video to change and of where to change it (white), or "".
        size: `WIDTHxHEIGHT` in pixels.
        aspect_ratio: `HEIGHT:WIDTH` in the words of a family that has names for sizes, or "".
        frames, fps: length of the video and its frames a second.
        steps, guidance, shift, solver, seed: the sampler's settings.
        embedded_guidance: scale that a guidance-distilled transformer is told, 0 for other ones.
        threshold, align_steps, estimator: the cache's settings (tau and A of the paper).
        predictor: how a skipped output is rebuilt.
        speedup, compute: a budget in the place of a threshold, steps over computed steps or the other way
            round; 0 where none is asked for.
        max_error: the predicted relative error of the final latents beyond which nothing is skipped, or 0.
        coefficients, ratios, max_skips, retention, broadcast, window, interval, order: settings of one method
            each; see `cache.factory.METHOD_SETTINGS` and `methods.policy_for`.
        weights: a folder of other weights, "" for the model's own, or a word the model knows ("random").
        repo: the official repository's checkout, or "" to look for it.
        offload, t5_cpu: whether parts that are idle leave the GPU; whether the text encoder runs on the CPU.
        fp8: whether the transformer's weights are held in 8 bits.
        ulysses, ring: processes that share a sequence by heads and by parts; their product is the number of
            processes started by torchrun.
        fsdp: whether these processes share the weights too.
        output: the video's path, or "" to name it by prompt in `output_dir`.
        overwrite, baseline: whether to replace `output`; whether to run uncached too.
        trajectory: whether to record every step for `replay`; every step must be computed.
        provenance: option name to a description of the layer its value is from.
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
    shift: float
    solver: str
    threshold: float
    align_steps: int
    estimator: str
    predictor: str
    speedup: float
    compute: float
    max_error: float
    coefficients: str
    ratios: str
    max_skips: int
    retention: float
    broadcast: str
    window: str
    interval: int
    order: int
    weights: str
    repo: str
    offload: bool
    t5_cpu: bool
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
        """Pixels a row."""
        return int(self.size.split("x")[0])

    @property
    def height(self) -> int:
        """Pixels a column."""
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
        """All options and their values, without provenance."""
        return {key: value for key, value in asdict(self).items() if key != "provenance"}


def plan_document(plan: Plan) -> dict[str, PlanEntry]:
    """Return each option with its value and its source, as reports hold them."""
    from navicache_cli.report.report import PlanEntry

    return {key: PlanEntry(value, plan.provenance[key]) for key, value in plan.values().items()}


@dataclass(frozen=True)
class Layer:
    """Option values from one place. `label` names the place; `{name}` in it becomes the option's name."""

    label: str
    values: Mapping[str, Any]

    def source(self, option: str) -> str:
        """Describe where `option` of this layer comes from."""
        return self.label.replace("{name}", option.replace("_", "-")).replace("{NAME}", option.upper())


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Collect `NAVICACHE_<OPTION>` variables, and the published `NAVICACHE_THRESH`."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        if f"NAVICACHE_{option.upper()}" in environment:
            values[option] = environment[f"NAVICACHE_{option.upper()}"]
    for variable, option in ENVIRONMENT_ALIASES.items():
        if variable in environment:
            values.setdefault(option, environment[variable])
    return Layer("environment NAVICACHE_{NAME}", values)


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """Parse `--set key=value` items.

    Raises:
        UsageError: an item has no `=`.
    """
    values = {}
    for item in assignments:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set expects key=value, found {item[:60]!r}", "write --set steps=30")
        values[key.strip().replace("-", "_")] = value
    return values


def resolve(layers: list[Layer]) -> Plan:
    """Merge layers, weakest first, over the preset they select, and check the result.

    Raises:
        UsageError: an unknown key, a value of the wrong kind, or one the model cannot do.
    """
    chosen: dict[str, Any] = dict(BUILT_IN)
    sources: dict[str, str] = dict.fromkeys(BUILT_IN, "default")

    def apply(layer: Layer) -> None:
        for key, value in layer.values.items():
            if key not in OPTIONS:
                raise UsageError(f"{unknown('key', key, OPTIONS)} ({layer.source(key)})", "see --help")
            try:
                chosen[key] = read_option(preset, key, value)
            except ValueError as error:
                raise _unfit(key, value, error, layer) from None
            sources[key] = layer.source(key)

    def pick(key: str, default: str) -> str:
        picked = default
        for layer in layers:
            try:
                picked = read_text(layer.values.get(key, picked))
            except ValueError as error:
                raise _unfit(key, layer.values[key], error, layer) from None
        return picked

    preset = preset_for(pick("model", BUILT_IN["model"]))
    task = pick("task", preset.defaults["task"])
    if task not in preset.tasks:
        raise UsageError(
            unknown(f"task of {preset.model}", task, preset.tasks), "`navicache models` lists them"
        )
    mode = pick("mode", BUILT_IN["mode"])
    if mode not in (*preset.modes, OFF):
        raise UsageError(unknown("mode", mode, [*preset.modes, OFF]), "`navicache presets` shows the modes")
    label = f"preset {preset.model}"
    apply(Layer(label, {"fps": preset.fps, **preset.defaults}))
    spec = preset.tasks[task]
    apply(Layer(f"{label} {task}", {k: v for k, v in spec.items() if k not in TASK_FACTS}))
    size = ""
    with suppress(ValueError):  # A size that cannot be read is reported below, with its source.
        size = read_size(pick("size", spec.get("size", preset.defaults.get("size", ""))))
        by_size = spec.get("by_size", {}).get(size, {})
        apply(Layer(f"{label} {task} {size}", {k: v for k, v in by_size.items() if k not in TASK_FACTS}))
    with suppress(ValueError):
        if read_integer(pick("ulysses", "1")) * read_integer(pick("ring", "1")) > 1:
            apply(Layer(f"{label}, several processes", preset.parallel))
    apply(Layer(f"{label} {mode}", preset.modes.get(mode, {"method": OFF})))
    for where, values in method_layers(preset, task, size, mode, pick("method", chosen["method"])):
        apply(Layer(where, values))
    for layer in layers:
        apply(layer)
    if mode == OFF and chosen["method"] != OFF:
        raise UsageError(
            "mode off computes every step, "
            f"but method {chosen['method'][:40]!r} was asked for ({sources['method']})",
            "drop --method, or choose --mode fast, mid or slow",
        )
    share = share_of(chosen["speedup"], chosen["compute"])
    if share and sources["align_steps"].startswith(label):
        # Alignment is paid from the budget; the modes' 10 of 50 steps would leave half of it for the rest.
        most = most_align_steps(chosen["steps"], share)
        chosen["align_steps"] = min(chosen["align_steps"], most)
        sources["align_steps"] = f"{sources['align_steps']}, at most {most} on this budget"
    size, ratio = settle_size(preset, chosen["size"], chosen["aspect_ratio"])
    if ratio != chosen["aspect_ratio"]:
        sources["aspect_ratio"] = sources["size"]
    plan = Plan(
        **{**chosen, "size": size, "aspect_ratio": ratio},
        provenance={name: sources[name] for name in OPTIONS},
    )
    check(plan, preset)
    return plan


def _unfit(option: str, value: object, error: ValueError, layer: Layer) -> UsageError:
    """The error for a value that an option's reader refused."""
    name = option.replace("_", "-")
    return UsageError(
        f"{name} expects {error}, found {str(value)[:60]!r} ({layer.source(option)})", f"set it with --{name}"
    )


def check(plan: Plan, preset: Preset) -> None:
    """Check a plan against its preset and against common sense.

    Raises:
        UsageError: naming the option, what was expected and what was found.
    """

    def expect(fine: bool, option: str, expected: str, hint: str = "") -> None:
        if not fine:
            name = option.replace("_", "-")
            found = str(getattr(plan, option))[:60]
            raise UsageError(
                f"{name} expects {expected}, found {found!r} ({plan.provenance[option]})",
                hint or f"set it with --{name}",
            )

    if plan.estimator not in ESTIMATORS:
        raise UsageError(unknown("estimator", plan.estimator, ESTIMATORS), "set it with --estimator")
    if plan.predictor not in PREDICTORS:
        raise UsageError(unknown("predictor", plan.predictor, PREDICTORS), "set it with --predictor")
    expect(len(plan.prompt) <= MAX_PROMPT_CHARACTERS, "prompt", f"at most {MAX_PROMPT_CHARACTERS} characters")
    expect(bool(plan.prompt.strip()), "prompt", "some words")
    expect(1 <= plan.steps <= 1000, "steps", "1 to 1000")
    expect(plan.frames >= 1, "frames", "1 or more")
    if preset.frame_rule == "4n+1":
        near = max(1, 4 * ((plan.frames - 1 + 2) // 4) + 1)
        expect(plan.frames % 4 == 1, "frames", "4n+1 (1, 5, 9, 13, 17, …)", f"the nearest is --frames {near}")
    expect(1 <= plan.fps <= 240, "fps", "1 to 240")
    task = preset.tasks[plan.task]
    sizes, pixels = task["sizes"], sizes_in_pixels(preset, task["sizes"])
    named = "" if pixels == sizes else ", or the pixels of one at an aspect ratio,"
    tasks = [name for name, its in preset.tasks.items() if plan.size in sizes_in_pixels(preset, its["sizes"])]
    elsewhere = f"{plan.size} is a size of --task {', '.join(tasks)}" if tasks else ""
    wanted = f"one of {', '.join(sizes)}{named} for {plan.model} {plan.task}"
    expect(plan.size in pixels, "size", wanted, elsewhere)
    expect(plan.solver in preset.solvers, "solver", f"one of {', '.join(preset.solvers)} for {plan.model}")
    for option, expected in INPUTS.items():
        name, given = option.replace("_", "-"), bool(getattr(plan, option))
        if option in task.get("inputs", []):
            expect(given, option, f"{expected} for {plan.model} {plan.task}", f"--{name} picture.png")
        elif option not in task.get("optional_inputs", []):
            expect(not given, option, f"nothing: {plan.model} {plan.task} takes no {name}", f"drop --{name}")
    for option in FAMILY_OPTIONS:
        taken = option in preset.takes or getattr(plan, option) == BUILT_IN[option]
        name = option.replace("_", "-")
        expect(taken, option, f"nothing: {plan.model} takes no {name}", f"drop --{name}")
    expect(plan.guidance >= 0, "guidance", "0 or more")
    expect(plan.embedded_guidance >= 0, "embedded_guidance", "0 or more")
    expect(plan.ulysses >= 1, "ulysses", "1 or more")
    expect(plan.ring >= 1, "ring", "1 or more")
    expect(plan.shift > 0, "shift", "more than 0")
    expect(plan.threshold >= 0, "threshold", "0 or more")
    expect(plan.align_steps >= 0, "align_steps", "0 or more")
    if plan.trajectory and plan.method != OFF:
        raise UsageError(
            f"trajectory expects a generation that computes every step, found method {plan.method!r} "
            f"({plan.provenance['method']})",
            "add --mode off",
        )
    check_method(plan, preset)
