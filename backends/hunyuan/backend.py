"""The HunyuanVideo model family: what can be said before the official code is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.hunyuan.processes import check_sharing
from backends.hunyuan.tasks import HUNYUAN, TASKS, repeated_timesteps
from backends.official.official import RANDOM, SMALL, find_device, noise_notes
from backends.official.repositories import describe_checkout, missing_repository, resolve_repository
from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from backends.hunyuan.pipeline import HunyuanPipeline
    from navicache_cli.plan.plan import Plan


class HunyuanBackend:
    """HunyuanVideo: text to video at 544p and 720p."""

    name = "hunyuan"

    def problem(self) -> str:
        return missing_repository([HUNYUAN])

    def check(self, plan: Plan) -> list[str]:
        """See `Backend.check`; the notes say which official code was taken.

        Raises:
            BackendError: no official repository, no GPU, or no package for several.
            UsageError: see `check_plan`.
        """
        check_plan(plan)
        notes = describe_checkout(HUNYUAN, resolve_repository(HUNYUAN, plan.repo))
        choose_device(plan)
        if plan.negative_prompt and plan.guidance <= 1:
            notes.append(
                f"the negative prompt has no effect at guidance {plan.guidance:g}; it needs more than 1"
            )
        return [*noise_notes(plan.weights, HUNYUAN.title, "both text encoders and the VAE"), *notes]

    def load(self, plan: Plan) -> HunyuanPipeline:
        from backends.hunyuan.loading import load_pipeline

        return load_pipeline(plan, choose_device(plan))


def check_plan(plan: Plan) -> None:
    """Check what the presets cannot say.

    Raises:
        BackendError, UsageError: see `check_sharing`.
        UsageError: the official code has no such task, fp8 is asked of random weights, or steps share
            timesteps.
    """
    if plan.task not in TASKS:
        raise UsageError(
            f"hunyuan expects a task of {', '.join(TASKS)}, found {plan.task!r}", "set it with --task"
        )
    if plan.fp8 and plan.weights in (RANDOM, SMALL):
        raise UsageError(
            f"fp8 expects the official fp8 weights and their map of scales, found --weights {plan.weights}",
            "drop --fp8 or --weights",
        )
    repeated = repeated_timesteps(plan.steps, plan.shift)
    if repeated:
        raise UsageError(
            f"{plan.steps} steps at shift {plan.shift:g} give {repeated} of them the timestep of the one "
            "before; the official sampler and the cache expect one timestep per step",
            "lower --steps or --shift",
        )
    check_sharing(plan)


def choose_device(plan: Plan) -> torch.device:
    """See `find_device`."""
    return find_device(HUNYUAN.title, plan.weights)
