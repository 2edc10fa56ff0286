"""A loaded pipeline of diffusers: its call from a plan, and its video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.diffusers.call import Call, call_arguments
from backends.diffusers.site import WholePipeline
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import OutOfMemoryError, OutputError, SiteError, UsageError, known_error, one_line

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Stages
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity


class DiffusersPipeline:
    """A pipeline and what is known of its call.

    Args:
        pipe: of diffusers, on its device.
        call: its signature.
        identity: which weights and code it is.
    """

    def __init__(self, pipe: Any, call: Call, identity: ModelIdentity) -> None:
        self.pipe = pipe
        self.identity = identity
        self._call = call
        self._scheduler = pipe.scheduler
        self._scheduler_class = type(pipe.scheduler)  # While a cache is attached it has another.
        self._guidance = pipe.guider.guidance_scale if call.guider else None
        self._stages: Stages | None = None

    def site(self, region: Region = Region.OWN) -> WholePipeline:
        """Return the site over all transformers of the pipeline."""
        if region is not Region.OWN:
            raise SiteError(
                f"expected a method that works on whole forwards, for {self._call.owner}; found one that "
                f"works on its {region.value}",
                "--method navicache",
            )
        return WholePipeline(self.pipe, self._on_stage)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Call the pipeline; the noise is drawn on the CPU, so that a seed means the same everywhere.

        Returns:
            Video [3, F, H, W] float32 in [-1, 1], on the CPU.
        """
        import torch

        arguments = call_arguments(self._call, plan, _read_files(plan))
        self._set_shift(plan)
        if self._guidance is not None and not self._call.name_of("guidance"):
            self.pipe.guider.guidance_scale = plan.guidance
        stages.start("text")
        self._stages = stages
        try:
            # Of schedulers that draw noise of their own without being given the generator.
            torch.manual_seed(plan.seed)
            generator = torch.Generator().manual_seed(plan.seed)
            made = self.pipe(**arguments, generator=generator, output_type="pt")
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            if isinstance(known_error(error), OutOfMemoryError):
                raise
            raise UsageError(
                f"{self._call.owner} stopped: {type(error).__name__}: {one_line(error)}",
                "check --size, --frames, --steps and --call against what the model makes; "
                "`navicache --debug …` shows where it stopped",
            ) from error
        finally:
            self._stages = None
        video = _video_of(made, self._call.owner)
        stages.start("")
        return video

    def _on_stage(self, name: str) -> None:
        if self._stages is not None:
            self._stages.start(name)

    def _set_shift(self, plan: Plan) -> None:
        """Give the pipeline a scheduler with the plan's shift, or the one it came with."""
        name, own = self._call.shift, self._scheduler
        if name and own.config[name] != plan.shift:
            self.pipe.scheduler = self._scheduler_class.from_config(own.config, **{name: plan.shift})
        elif self.pipe.scheduler is not own:
            self.pipe.scheduler = own


def _read_files(plan: Plan) -> dict[str, Any]:
    """The pictures and the video of a plan, as PIL has them."""
    from PIL import Image

    from navicache_cli.media.picture_in import read_picture
    from navicache_cli.media.video_in import read_video
    from navicache_cli.reading import expand_user

    found: dict[str, Any] = {
        option: read_picture(getattr(plan, option))
        for option in ("image", "last_image")
        if getattr(plan, option)
    }
    if plan.source_video:
        frames, _ = read_video(expand_user(plan.source_video))
        found["source_video"] = [Image.fromarray(frame) for frame in frames]
    return found


def _video_of(made: Any, owner: str) -> Tensor:
    """The first video of what a call returned, [3, F, H, W] in [-1, 1]."""
    import torch

    frames = getattr(made, "frames", None)
    if frames is None or not len(frames):
        raise OutputError(
            f"expected {owner} to return frames, found {type(made).__name__}",
            "load it yourself: import navicache; navicache.enable(pipe, speedup=2)",
        )
    first = frames[0]
    video = first if isinstance(first, torch.Tensor) else torch.stack([torch.as_tensor(one) for one in first])
    return video.float().cpu().permute(1, 0, 2, 3) * 2 - 1
