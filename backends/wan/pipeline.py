"""The loaded official pipeline: where the cache attaches, and how one generation is timed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from backends.official.names import replaced
from backends.official.official import out_of_memory_hints, quiet, timed
from backends.wan.pictures import check_video, picture_file, reference_paths
from backends.wan.tasks import VACE, Task
from navicache_cli.cache import Architecture
from navicache_cli.cache.policies.policy import Region
from navicache_cli.cache.sites.stack_site import argument
from navicache_cli.media.picture_in import read_picture

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Stages
    from navicache_cli.cache.sites.site import Site
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity

LESS_MEMORY = "try --offload, --t5-cpu, a smaller --size, fewer --frames, or --task t2v-1.3B"


class WanPipeline:
    """An official `WanT2V`, `WanI2V`, `WanFLF2V` or `WanVace`, driven by its own `generate`.

    Args:
        official: the official pipeline object.
        task: what it does.
        identity: which code and weights it is.
    """

    def __init__(self, official: Any, task: Task, identity: ModelIdentity) -> None:
        self.official = official
        self.task = task
        self.identity = identity

    def site(self, region: Region = Region.OWN) -> Site:
        """Return a site; the model's own region is the whole transformer forward.

        There `x` is a list of latents [16, F, H, W], and `t` has shape [1].

        The picture of image-to-video goes beside x, in `y`; the forward joins them inside, so that x and the
        output have the same shape.

        In sequence parallel both are whole on every process: the official forward shares out tokens after its
        embedding and gathers them before it ends (wan/distributed/xdit_context_parallel.py), so norms
        measured here are those of the whole video. Under FSDP `model` is the wrapper. The stack of blocks
        sees its process's share of the tokens.
        """
        model = self.official.model
        # Steps are inferred from t, as well as if they were told: the sampler makes one tensor of it a step
        # for both branches, which is read together with what is measured. Repeated ones are refused before.
        return Architecture(
            model,
            timestep="t",
            inputs="x",
            blocks=lambda: model.blocks,
            # The projected embedding of the timestep, [1, 6, C]; TeaCache's polynomials with retention steps
            # were fitted on it.
            modulation=argument("e", 1),
            attentions=lambda: {
                "self": [block.self_attn for block in model.blocks],
                "cross": [block.cross_attn for block in model.blocks],
            },
        ).site(region)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Call the official `generate`. See `Pipeline.generate`.

        Guidance 1 saves no forward here: the official sampler always runs both branches.

        Raises:
            OutOfMemoryError: the GPU's memory did not suffice.
        """
        on_gpu = self.official.device.type == "cuda"
        module = sys.modules[type(self.official).__module__]
        timing = timed(stages, self.official.model, self.official.vae, self.official.device)
        with quiet(), replaced(module, tqdm=_no_progress), timing, out_of_memory_hints(LESS_MEMORY, plan):
            pictures, area = self._inputs(plan)
            video: Tensor | None = self.official.generate(
                plan.prompt,
                *pictures,
                **area,
                frame_num=plan.frames,
                shift=plan.shift,
                sample_solver=plan.solver,
                sampling_steps=plan.steps,
                guide_scale=plan.guidance,
                n_prompt=plan.negative_prompt,
                seed=plan.seed,
                offload_model=plan.offload and on_gpu,
            )
            if video is None:  # Only the first process decodes.
                return torch.empty(3, 0, plan.height, plan.width)
            return video.float().cpu()

    def _inputs(self, plan: Plan) -> tuple[list[Any], dict[str, Any]]:
        """What the official `generate` takes between prompt and frames: pictures, and the size in its way."""
        size = (plan.width, plan.height)
        if self.task.model_type == VACE:
            # Where there is no source video, all frames are to be made.
            video, mask = (str(check_video(p)) if p else None for p in (plan.source_video, plan.source_mask))
            references = list(map(picture_file, reference_paths(plan.reference_images))) or None
            sources = self.official.prepare_source(
                [video], [mask], [references], plan.frames, size, self.official.device
            )
            return list(sources), {"size": size}
        pictures = [read_picture(getattr(plan, option)) for option in self.task.pictures]
        return pictures, {"max_area": plan.width * plan.height} if pictures else {"size": size}


def _no_progress(iterable: Iterable[Any], **_: Any) -> Iterable[Any]:
    """In the place of tqdm: the program has a progress bar of its own."""
    return iterable
