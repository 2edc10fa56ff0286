"""Schedules of `navicache schedule` on a pipeline or a model: whether they were made for it."""

from __future__ import annotations

from typing import Any

from navicache_cli.cache.sites.pipeline_site import is_pipeline, models_of
from navicache_cli.errors import UsageError
from navicache_cli.plan.published import published_preset
from navicache_cli.report.schedules import Schedules

_ANY = "diffusers"  # the family whose schedules name the class of their pipeline


def check_target(schedules: Schedules, target: Any) -> None:
    """Check that schedules were made for a pipeline, or a model, like this one.

    Raises:
        UsageError: they were made for another. What a model by itself is cannot always be told.
    """
    if schedules.model == _ANY:
        expected, found = schedules.name.split()[0], type(target).__name__
        fits = not is_pipeline(target) or expected == found
    else:
        modules = list(models_of(target).values()) if is_pipeline(target) else [target]
        modules = [getattr(module, "_orig_mod", module) for module in modules]
        expected, found = schedules.model, type(modules[0]).__name__
        kinds = [one.__name__ for one in type(modules[0]).__mro__]
        preset = published_preset(kinds, getattr(modules[0], "config", None) or {})
        fits = preset == expected
    if not fits:
        raise UsageError(
            f"expected a schedule made for {found}, found one for {expected}",
            hint="make one: navicache schedule --model diffusers --weights …",
        )


def about_pipeline(schedules: Schedules, pipeline: Any) -> list[str]:
    """What of a pipeline's present call is not as it was where its schedule comes from."""
    config = getattr(pipeline.scheduler, "config", {})
    now = {
        "guidance": getattr(pipeline, "guidance_scale", None),
        "shift": config.get("flow_shift", config.get("shift")),
    }
    return [
        f"the schedule was made with {name} {was:g}, this video has {found:g}: its steps may lie less well"
        for name, found in now.items()
        if isinstance(found, int | float) and found != (was := getattr(schedules, name))
    ]
