"""The published modes, for models that have them."""

from __future__ import annotations

from typing import Any

from navicache_cli.cache.sites.pipeline_site import is_pipeline, models_of
from navicache_cli.errors import UsageError
from navicache_cli.plan.published import PUBLISHED, published_preset

_INSTEAD = "pass speedup=2, which fits any model, or a threshold of your own"
_OFF = "off"


def mode_values(target: Any, mode: str) -> dict[str, Any]:
    """What a mode sets: `method`, or `threshold` and `align_steps`.

    Raises:
        UsageError: there is no such mode, or none for this model.
    """
    from navicache_cli.plan.presets import preset_for

    if mode == _OFF:
        return {"method": _OFF}
    preset = preset_for(_published(target))
    if mode not in preset.modes:
        raise UsageError(
            f"expected a mode of {', '.join([*preset.modes, _OFF])}, found {mode!r}", hint="mode='fast'"
        )
    return {"align_steps": preset.defaults["align_steps"], **preset.modes[mode]}


def _published(target: Any) -> str:
    modules = list(models_of(target).values()) if is_pipeline(target) else [target]
    modules = [getattr(module, "_orig_mod", module) for module in modules]
    if len(modules) > 1:
        raise UsageError(
            f"expected a model with published modes, found one of {len(modules)} experts", hint=_INSTEAD
        )
    (module,) = modules
    config: Any = getattr(module, "config", None) or {}
    found = published_preset([one.__name__ for one in type(module).__mro__], config)
    if found is None:
        raise UsageError(
            f"expected a model with published modes ({', '.join(PUBLISHED)}), "
            f"found {type(module).__name__} of another size or kind",
            hint=_INSTEAD,
        )
    return found
