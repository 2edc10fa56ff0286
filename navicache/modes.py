"""The published modes, for models that have them: which transformer of diffusers is which preset's."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from navicache_cli.cache.sites.pipeline_site import is_pipeline, models_of
from navicache_cli.errors import UsageError

_INSTEAD = "pass speedup=2, which fits any model, or a threshold of your own"
_OFF = "off"


class _Match(NamedTuple):
    """What tells that a preset's thresholds were published for a transformer."""

    preset: str
    kind: str  # class of diffusers
    config: dict[str, Any]  # values it must have


_MATCHES = (
    _Match("wan", "WanTransformer3DModel", {"num_layers": 30, "num_attention_heads": 12}),
    _Match("wan", "WanTransformer3DModel", {"num_layers": 40, "num_attention_heads": 40}),
    _Match("wan", "WanVACETransformer3DModel", {"num_layers": 30, "num_attention_heads": 12}),
    _Match("wan", "WanVACETransformer3DModel", {"num_layers": 40, "num_attention_heads": 40}),
    _Match(
        "hunyuan",
        "HunyuanVideoTransformer3DModel",
        {"num_layers": 20, "num_single_layers": 40, "num_attention_heads": 24, "image_condition_type": None},
    ),
    _Match("tiny", "WanTransformer3DModel", {"num_layers": 8, "num_attention_heads": 4, "ffn_dim": 768}),
)


def mode_values(target: Any, mode: str) -> dict[str, Any]:
    """What a mode sets: `method`, or `threshold` and `align_steps`.

    Raises:
        UsageError: there is no such mode, or none for this model.
    """
    from navicache_cli.plan.presets import preset_for

    if mode == _OFF:
        return {"method": _OFF}
    match = _match(target)
    preset = preset_for(match.preset)
    if mode not in preset.modes:
        raise UsageError(
            f"expected a mode of {', '.join([*preset.modes, _OFF])}, found {mode!r}", hint="mode='fast'"
        )
    return {"align_steps": preset.defaults["align_steps"], **preset.modes[mode]}


def _match(target: Any) -> _Match:
    modules = list(models_of(target).values()) if is_pipeline(target) else [target]
    modules = [getattr(module, "_orig_mod", module) for module in modules]
    if len(modules) > 1:
        raise UsageError(
            f"expected a model with published modes, found one of {len(modules)} experts", hint=_INSTEAD
        )
    for match in _MATCHES:
        if _fits(modules[0], match):
            return match
    names = ", ".join(dict.fromkeys(match.preset for match in _MATCHES))
    raise UsageError(
        f"expected a model with published modes ({names}), found {type(modules[0]).__name__} "
        "of another size or kind",
        hint=_INSTEAD,
    )


def _fits(module: nn.Module, match: _Match) -> bool:
    config: Any = getattr(module, "config", None) or {}
    kinds = [kind.__name__ for kind in type(module).__mro__]
    return match.kind in kinds and all(config.get(name) == value for name, value in match.config.items())
