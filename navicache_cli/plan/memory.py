"""How much of a GPU's memory a plan takes, by figures measured beforehand, without a GPU or weights.

A family has them in `memory-NAME.json` beside its preset, written by `scripts/measure_memory.py`. For each
task, in GiB: `weights` by part; `cache`, what each way of caching keeps, for one L P (P megapixels, L latent
frames); and `moments`, by the options that move parts off the GPU, and by stage: which parts are on it, and
`activations`, everything else there, c0 + c1 P + c2 L P. A stage has several where parts come and go: which
is the fullest depends on the size. `latent_frames` are a and b of L = a + b frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from navicache_cli.cache.policies.factory import PREDICTED_METHODS
from navicache_cli.cache.policies.pab import PabSettings
from navicache_cli.cache.policies.taylorseer import TaylorSeerSettings
from navicache_cli.errors import OutOfMemoryError
from navicache_cli.plan.choices import pick
from navicache_cli.plan.layers import option_layers
from navicache_cli.plan.options import BUILT_IN
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.presets import OFF, load_presets, preset_folder, preset_for

# The CUDA context, kernels' workspaces and fragmentation, in GiB: what no tensor holds.
RESERVE = 1.0
_LEAST_SAVED = 0.05  # GiB; less does not show
_MUCH = 0.5  # GiB of cache that are worth another method
DENOISE = "denoise"


@dataclass(frozen=True)
class Stage:
    """What one stage of a generation has on the GPU at its fullest moment, in GiB.

    Attributes:
        weights: by part.
        activations: everything that is neither weights nor cache.
        cache: what the caching method keeps.
    """

    weights: Mapping[str, float]
    activations: float
    cache: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.weights.values()) + self.activations + self.cache


@dataclass(frozen=True)
class Estimate:
    """What a plan takes of one GPU.

    Attributes:
        stages: by name, in their order.
        source: the official code it was measured on.
        command: that measured it.
    """

    stages: Mapping[str, Stage]
    source: str
    command: str

    @property
    def fullest(self) -> str:
        """The stage that takes most."""
        return max(self.stages, key=lambda name: self.stages[name].total)

    @property
    def peak(self) -> float:
        """GiB in that stage."""
        return self.stages[self.fullest].total

    @property
    def cache(self) -> float:
        """GiB that the caching method keeps."""
        return self.stages[DENOISE].cache

    def fits(self, gigabytes: float) -> bool:
        """Whether a GPU of so many GiB has room for it, and for what no tensor holds."""
        return self.peak + RESERVE <= gigabytes


def memory_file(model: str) -> Path:
    """Where a family's figures are, or would be."""
    return preset_folder(model) / f"memory-{model}.json"


@cache
def _figures(model: str) -> dict[str, Any]:
    path = memory_file(model)
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def features(latent_frames: Sequence[float], size: str, frames: int) -> tuple[float, float, float]:
    """What memory is linear in: 1, megapixels, and megapixels times latent frames."""
    width, height = map(int, size.split("x"))
    megapixels = width * height / 1e6
    first, more = latent_frames
    return 1.0, megapixels, megapixels * (first + more * frames)


def model_of(
    flags: Mapping[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> str:
    """The model that these layers ask for, a known one.

    Raises:
        UsageError: a wrong option, or an unknown model.
    """
    layers = option_layers(dict(flags), assignments, config, environment)
    return preset_for(pick("model", BUILT_IN["model"], layers)).model


def plan_without_pictures(
    flags: Mapping[str, Any], assignments: list[str], config: Path | None, environment: dict[str, str]
) -> Plan:
    """See `build_plan`; no picture is asked for, as memory does not depend on what it shows."""
    layers = option_layers(dict(flags), assignments, config, environment)
    preset = preset_for(pick("model", BUILT_IN["model"], layers))
    task = pick("task", preset.defaults["task"], layers)
    needed = dict.fromkeys(preset.tasks.get(task, {}).get("inputs", []), "picture.png")
    return build_plan({**flags, **needed}, assignments, config, environment)


def estimate(plan: Plan) -> Estimate | None:
    """Estimate the memory of a plan; None where nothing was measured, or several GPUs share the work."""
    figures = _figures(plan.model)
    task = figures.get("tasks", {}).get(plan.task)
    if task is None or plan.ulysses * plan.ring > 1 or plan.fsdp:
        return None
    moved = [option for option in ("offload", "t5_cpu") if getattr(plan, option)]
    moments = task["moments"].get(" ".join(moved))
    if moments is None:
        return None
    weights = dict(task["weights"])
    if plan.fp8:
        weights["transformer"] /= 2  # of the official 16 bits
    known = features(figures["latent_frames"], plan.size, plan.frames)
    both = 2 if figures.get("guidance_is_batched") and plan.guidance > 1 else 1
    kept = _kept(plan, task["cache"]) * known[2] * both

    def stage(name: str, moment: Mapping[str, Any]) -> Stage:
        activations = sum(c * one for c, one in zip(moment["activations"], known, strict=True))
        return Stage(
            {part: weights[part] for part in moment["parts"]},
            max(activations, 0.0) * (both if name == DENOISE else 1),
            kept if name == DENOISE else 0.0,
        )

    stages = {
        name: max((stage(name, moment) for moment in those), key=lambda one: one.total)
        for name, those in moments.items()
    }
    return Estimate(stages, figures["source"], figures["command"])


def _kept(plan: Plan, cache: Mapping[str, float]) -> float:
    """What the plan's method keeps, for one megapixel of one latent frame."""
    if plan.method in (OFF, *PREDICTED_METHODS):
        return 0.0 if plan.method == OFF else cache[plan.predictor]
    if isinstance(plan.settings, PabSettings):
        ranges = (pair.partition("=") for pair in plan.settings.broadcast.split())
        return sum(cache[f"pab {kind}"] for kind, _, count in ranges if int(count) > 1)
    if isinstance(plan.settings, TaylorSeerSettings):
        return cache["taylorseer"] * (plan.settings.order + 1)  # measured of one output
    return cache[plan.method]


def known_models() -> list[str]:
    """The families that have figures."""
    return [model for model in load_presets() if memory_file(model).exists()]


def _on(*options: str) -> dict[str, Any]:
    return dict.fromkeys(options, True)


def changes(plan: Plan) -> dict[str, Plan]:
    """Plans of less memory, by the options that would make them; those that save nothing are left out."""
    preset = preset_for(plan.model)
    moves: list[str] = [
        one for one in ("offload", "t5_cpu", "fp8") if one in preset.takes and not getattr(plan, one)
    ]
    found = {_flag(option): replace(plan, **_on(option)) for option in moves}
    if len(moves) > 1:
        found[" ".join(map(_flag, moves))] = replace(plan, **_on(*moves))
    if plan.method not in (OFF, *PREDICTED_METHODS):
        bare = _with_least_cache(plan)
        found[f"--method {bare.method}"] = bare
    for size in preset.tasks[plan.task]["sizes"]:
        pixels = preset.named_sizes.get(size, [size])[0]
        if _area(pixels) < _area(plan.size):
            found[f"--size {size}"] = replace(plan, size=pixels)
    most = estimate(plan)
    if most is None:
        return {}
    return {
        name: other
        for name, other in found.items()
        if (less := estimate(other)) and most.peak - less.peak >= _LEAST_SAVED
    }


def _with_least_cache(plan: Plan) -> Plan:
    """The same by the method that keeps least."""
    return plan.uncached(method=PREDICTED_METHODS[0], predictor="residual")


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _area(size: str) -> int:
    width, height = map(int, size.split("x"))
    return width * height


def about_memory(plan: Plan) -> str:
    """One line: the estimate, and of what it is; "" where there is none."""
    found = estimate(plan)
    return "" if found is None else _about(plan, found)


def less_cache(plan: Plan) -> str:
    """What to type where the method keeps much that another does not; "" where it keeps little."""
    bare = _with_least_cache(plan)
    found, other = estimate(plan), estimate(bare)
    if found is None or other is None or found.cache - other.cache < _MUCH:
        return ""
    kept = f"{other.cache:.2f} GiB where {plan.method} keeps {found.cache:.1f}"
    return f"--method {bare.method}, which keeps {kept}"


def check_memory(plan: Plan, gigabytes: float) -> list[str]:
    """Check, before anything is loaded, whether a plan fits a GPU.

    Args:
        plan: what to generate.
        gigabytes: of the GPU, in GiB.

    Returns:
        A note where it will hardly fit.

    Raises:
        OutOfMemoryError: it cannot fit because of what its caching method keeps.
    """
    found = estimate(plan)
    if found is None or found.fits(gigabytes):
        return []
    told = f"{_about(plan, found)}; this GPU has {gigabytes:.1f}"
    uncached = estimate(plan.uncached())
    if found.peak > gigabytes and uncached is not None and uncached.fits(gigabytes):
        raise OutOfMemoryError(
            f"expected a method whose cache fits the GPU, found {told}",
            less_cache(plan) or f"navicache memory --model {plan.model} --task {plan.task}",
        )
    return [
        f"this may run out of memory: {told}; `navicache memory --model {plan.model} --task {plan.task}` "
        "says what takes less"
    ]


def _about(plan: Plan, found: Estimate) -> str:
    stage = found.stages[found.fullest]
    parts = [f"weights {sum(stage.weights.values()):.1f}", f"activations {stage.activations:.1f}"]
    if stage.cache >= 0.005:
        parts.append(f"cache of {plan.method} {stage.cache:.2f}")
    return f"about {found.peak:.1f} GiB of GPU memory, in {found.fullest} ({', '.join(parts)})"
