"""Defaults of a plan that the files of a pipeline have: its signature, its scheduler, its guider."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from backends.diffusers.call import SIZE, Call, read_call
from backends.diffusers.index import OWN, Index, pipeline_class, read_facts, read_index
from backends.diffusers.place import find_place
from navicache_cli.errors import UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.presets import AUTO, OFF, preset_for
from navicache_cli.plan.published import PUBLISHED, published_preset

_INSTEAD = ("threshold", "speedup", "compute")  # of a mode


@lru_cache(maxsize=16)
def read_pipeline(weights: str, revision: str) -> tuple[Index, Call, tuple[Layer, ...]]:
    """Read what is known of a pipeline before it is loaded: its index, its call, and defaults of a plan.

    Raises:
        UsageError: no weights are named.
        WeightsError: there are none, or none that can be used; see `index` and `place`.
    """
    index = read_index(find_place(weights, revision))
    kind = pipeline_class(index)
    scheduler, guider = (
        read_facts(index.place, f"{part}/{part}_config.json") if part in index.parts else {}
        for part in ("scheduler", "guider")
    )
    shift = _shift_of(scheduler)
    call = read_call(
        kind,
        guider=_is_number(guider.get("guidance_scale")),
        scheduler=index.parts.get("scheduler", ("", ""))[1],
        shift=shift,
    )
    layers = [
        Layer(f"signature of {call.owner}", _of_signature(call)),
        Layer(f"chosen by {call.owner} itself", _left_open(call)),
        Layer("scheduler of the weights", {"solver": call.scheduler or AUTO}),
    ]
    if shift:
        layers.append(Layer("scheduler of the weights", {"shift": scheduler[shift]}))
    if call.guider:
        layers.append(Layer("guider of the weights", {"guidance": guider["guidance_scale"]}))
    return index, call, tuple(layers)


def mode_layers(index: Index, asked: Mapping[str, str]) -> list[Layer]:
    """What the mode asked for means for these weights.

    Raises:
        UsageError: no mode was published for their transformer.
    """
    mode = asked.get("mode", OFF)
    if mode == OFF or any(name in asked for name in _INSTEAD):
        return []
    config = read_facts(index.place, "transformer/config.json")
    experts = [name for name in index.parts if name.startswith("transformer")]
    kinds = _kinds(*index.parts.get("transformer", ("", "")))
    found = published_preset(kinds, config) if len(experts) == 1 else None
    if found is None:
        raise UsageError(
            f"mode expects a transformer with published thresholds ({', '.join(PUBLISHED)}), "
            f"found that of {index.pipeline}, of another size or kind",
            "--speedup 2, which fits any model",
        )
    preset = preset_for(found)
    values = {"align_steps": preset.defaults["align_steps"], **preset.modes.get(mode, {})}
    return [Layer(f"preset {found} {mode}", values)]


def _kinds(module: str, kind: str) -> list[str]:
    """Names of a part's class and of those that it derives from."""
    found = getattr(import_module(module), kind, None) if module in ("diffusers", OWN) else None
    return [one.__name__ for one in found.__mro__] if isinstance(found, type) else [kind]


def _of_signature(call: Call) -> dict[str, Any]:
    """Defaults that the signature states."""
    found: dict[str, Any] = {}
    for option in ("frames", "fps", "steps", "guidance"):
        default: Any = call.parameters.get(call.name_of(option))
        if _is_number(default):
            found[option] = round(default) if option == "fps" else default
    if isinstance(negative := call.parameters.get("negative_prompt"), str):
        found["negative_prompt"] = negative
    height, width = (call.parameters.get(name) for name in SIZE)
    if isinstance(height, int) and isinstance(width, int):
        found["size"] = f"{width}x{height}"
    return found


def _left_open(call: Call) -> dict[str, Any]:
    stated = _of_signature(call)
    return {option: AUTO for option in ("size", "frames") if option not in stated}


def _shift_of(scheduler: Mapping[str, Any]) -> str:
    """The setting of a scheduler that is a fixed shift of its noise schedule, or ""."""
    for name, unless, only in (("flow_shift", "", "use_flow_sigmas"), ("shift", "use_dynamic_shifting", "")):
        fixed = not scheduler.get(unless) and (not only or scheduler.get(only) is True)
        if fixed and _is_number(scheduler.get(name)) and scheduler[name] > 0:
            return name
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
