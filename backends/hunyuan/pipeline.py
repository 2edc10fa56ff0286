"""The loaded official sampler: where the cache attaches, and how one generation is timed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

from backends.hunyuan.tasks import HUNYUAN
from backends.official.official import out_of_memory_hints, quiet, timed
from navicache_cli.cache import Architecture
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Stages
    from navicache_cli.cache.sites.site import Site
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity

LESS_MEMORY = "try --offload, --fp8, a smaller --size, fewer --frames, or --task t2v-544p"


class HunyuanPipeline:
    """An official `HunyuanVideoSampler`, driven by its own `predict`.

    Args:
        sampler: the official sampler.
        identity: which code and weights it is.
    """

    def __init__(self, sampler: Any, identity: ModelIdentity) -> None:
        self.sampler = sampler
        self.identity = identity
        # The program has a progress bar of its own.
        sampler.pipeline.set_progress_bar_config(disable=True)

    def site(self, region: Region = Region.OWN) -> Site:
        """Return a site; the model's own region is the whole transformer forward.

        There `x` is [B, 16, F, H, W], `t` is [B], the output {"x": …}.

        B is 1, or 2 under guidance above 1: unconditional and conditional in one forward, so one decision.
        With several GPUs the forward bound on the instance takes and gives the whole latent.

        The stack of blocks is that of the video's tokens: the double blocks have the text's beside them, the
        single blocks appended.
        """
        model = self.sampler.pipeline.transformer
        # Steps are inferred from t, as well as if the scheduler told them: one forward a step, at a time of
        # its own, which is read together with what is measured.
        return Architecture(
            model,
            timestep="t",
            inputs="x",
            blocks=lambda: [*model.double_blocks, *model.single_blocks],
            beside="txt",
            modulation=modulated_input,
        ).site(region)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Call the official `predict`. See `Pipeline.generate`.

        Raises:
            BackendError: the official code returned something else than a video of the size asked for.
            OutOfMemoryError: the GPU's memory did not suffice.
        """
        parts = self.sampler.pipeline
        timing = timed(stages, [parts.transformer], parts.vae, torch.device(self.sampler.device))
        with quiet(), silent_log(), out_of_memory_hints(LESS_MEMORY, plan), timing:
            made = self.sampler.predict(
                prompt=plan.prompt,
                height=plan.height,
                width=plan.width,
                video_length=plan.frames,
                seed=plan.seed,
                negative_prompt=plan.negative_prompt,
                infer_steps=plan.steps,
                guidance_scale=plan.guidance,
                flow_shift=plan.shift,
                batch_size=1,
                embedded_guidance_scale=plan.embedded_guidance,
            )
        return read_samples(made["samples"], (plan.frames, plan.height, plan.width))


def modulated_input(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What the first double block's attention takes: the video's tokens, normed and modulated, [B, L, C]."""
    tokens, _, embedding = args[:3]
    shift, scale, *_ = block.img_mod(embedding).chunk(6, dim=-1)
    modulated: Tensor = block.img_norm1(tokens) * (1 + scale[:, None]) + shift[:, None]
    return modulated


def read_samples(samples: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Turn official samples, in [0, 1], into a video [3, F, H, W] in [-1, 1].

    Args:
        samples: [1, 3, F, H, W], or [1, 3, H, W] for a single frame.
        shape: F, H, W as asked for.

    Raises:
        BackendError: the samples have another shape.
    """
    video = rearrange(samples, "b c h w -> b c 1 h w") if samples.ndim == 4 else samples
    if video.shape != (1, 3, *shape):
        raise BackendError(
            f"expected samples of shape {(1, 3, *shape)} from {HUNYUAN.title}, found {tuple(samples.shape)}",
            f"check out {HUNYUAN.tested_commit[:7]}, the tested commit",
        )
    return video[0].float().cpu() * 2 - 1


@contextmanager
def silent_log() -> Iterator[None]:
    """Silence the log that the official code writes to standard error, by loguru."""
    loguru = sys.modules.get("loguru")
    if loguru is None:
        yield
        return
    loguru.logger.disable(HUNYUAN.package)
    try:
        yield
    finally:
        loguru.logger.enable(HUNYUAN.package)
