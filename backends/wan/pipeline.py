"""The loaded official pipeline: where the cache attaches, and how one generation is timed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from backends.official.names import replaced
from backends.official.official import out_of_memory_hints, quiet, timed
from backends.wan.pictures import check_video, picture_file, reference_paths
from backends.wan.tasks import VACE, WAN, Task
from navicache_cli.cache import Architecture, ModelsSite
from navicache_cli.cache.policies.policy import Region
from navicache_cli.media.picture_in import read_picture

if TYPE_CHECKING:
    from torch import Tensor, nn

    from backends.protocol import Stages
    from navicache_cli.cache.sites.site import Site
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity


def less_memory(task: Task) -> str:
    """Return what lowers the memory that a task takes, or which task takes less."""
    smaller = "t2v-1.3B" if task.official == WAN else "ti2v-5B"
    return f"try --offload, --t5-cpu, a smaller --size, fewer --frames, or --task {smaller}"


class WanPipeline:
    """An official `WanT2V`, `WanI2V`, `WanFLF2V`, `WanVace` or `WanTI2V`, driven by its own `generate`.

    Args:
        official: the official pipeline object.
        task: what it does.
        identity: which code and weights it is.
    """

    def __init__(self, official: Any, task: Task, identity: ModelIdentity) -> None:
        self.official = official
        self.task = task
        self.identity = identity

    @property
    def models(self) -> dict[str, nn.Module]:
        """The transformer, or each of two experts by its name; they take turns in one generation."""
        experts = {name: getattr(self.official, attribute) for name, attribute, _ in self.task.experts}
        return experts or {"": self.official.model}

    def site(self, region: Region = Region.OWN) -> Site:
        """Return a site; the model's own region is the whole transformer forward, of each expert its own.

        There `x` is a list of latents [C, F, H, W]. `t` has shape [1], or [1, tokens] in Wan2.2's 5B, where
        those of a given first frame have 0 at every step.

        The picture of image-to-video goes beside x, in `y`; the forward joins them inside, so that x and the
        output have the same shape.

        In sequence parallel both are whole on every process: the official forward shares out tokens after its
        embedding and gathers them before it ends (wan/distributed/xdit_context_parallel.py; Wan2.2's
        sequence_parallel.py), so norms measured here are those of the whole video. Under FSDP `model` is the
        wrapper. The stack of blocks sees its process's share of the tokens.
        """
        sites = {name: _architecture(model).site(region) for name, model in self.models.items()}
        return ModelsSite(sites) if self.task.experts else sites[""]

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Call the official `generate`. See `Pipeline.generate`.

        Guidance 1 saves no forward here: the official sampler always runs both branches.

        Raises:
            OutOfMemoryError: the GPU's memory did not suffice.
        """
        on_gpu = self.official.device.type == "cuda"
        module = sys.modules[type(self.official).__module__]
        timing = timed(stages, [*self.models.values()], self.official.vae, self.official.device)
        hints = out_of_memory_hints(less_memory(self.task), plan)
        with quiet(), replaced(module, tqdm=_no_progress), timing, hints:
            pictures, area = self._inputs(plan)
            video: Tensor | None = self.official.generate(
                plan.prompt,
                *pictures,
                **area,
                frame_num=plan.frames,
                shift=plan.shift,
                sample_solver=plan.solver,
                sampling_steps=plan.steps,
                guide_scale=self._guidance(plan),
                n_prompt=plan.negative_prompt,
                seed=plan.seed,
                offload_model=plan.offload and on_gpu,
            )
            if video is None:  # Only the first process decodes.
                return torch.empty(3, 0, plan.height, plan.width)
            return video.float().cpu()

    def _guidance(self, plan: Plan) -> float | tuple[float, float]:
        """The guidance of the official call; of two experts that of the one which comes last goes first."""
        if not self.task.experts:
            return plan.guidance
        return plan.low_noise_guidance or plan.guidance, plan.guidance

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
        options = ["image"] if self.task.may_have_picture and plan.image else self.task.pictures
        pictures = [read_picture(getattr(plan, option)) for option in options]
        return pictures, {"max_area": plan.width * plan.height} if pictures else {"size": size}


def _architecture(model: Any) -> Architecture:
    # Steps are inferred from t, as well as if they were told: the sampler makes one tensor of it a step
    # for both branches, which is read together with what is measured. Repeated ones are refused before.
    return Architecture(
        model,
        timestep="t",
        inputs="x",
        blocks=lambda: model.blocks,
        modulation=_modulation,
        attentions=lambda: {
            "self": [block.self_attn for block in model.blocks],
            "cross": [block.cross_attn for block in model.blocks],
        },
    )


def _modulation(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The projected embedding of the timestep, [1, 6, C]: what TeaCache's polynomials are of.

    Wan2.2 has one for each token, [1, tokens, 6, C], 9.3 GB at 14B and 720p. The last token's does: all that
    are generated have the same, and those of a given first frame come first.
    """
    embedding: Tensor = kwargs["e"] if "e" in kwargs else args[1]
    return embedding if embedding.dim() == 3 else embedding[:, -1]


def _no_progress(iterable: Iterable[Any], **_: Any) -> Iterable[Any]:
    """In the place of tqdm: the program has a progress bar of its own."""
    return iterable
