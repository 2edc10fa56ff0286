"""The backend of all pipelines of diffusers: nothing here is written for one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backends.official.installation import Package
from navicache_cli.errors import BackendError
from navicache_cli.reading import expand_user

if TYPE_CHECKING:
    from backends.diffusers.pipeline import DiffusersPipeline
    from navicache_cli.plan.layers import Layer
    from navicache_cli.plan.plan import Plan

PACKAGES = (Package("diffusers>=0.41"), Package("transformers>=5"), Package("accelerate>=1"))
INSTALL = 'pip install "navicache[diffusers]"'


class DiffusersBackend:
    """Any text- or image-to-video pipeline of diffusers."""

    name = "diffusers"

    def problem(self) -> str:
        missing = [package.requirement for package in PACKAGES if not package.fits()]
        return f"missing: {', '.join(missing)}; {INSTALL}" if missing else ""

    def defaults(self, asked: Mapping[str, str]) -> list[Layer]:
        """See `backends.protocol.KnowsDefaults`."""
        self._need_packages()
        from backends.diffusers.defaults import mode_layers, read_pipeline

        index, _, layers = read_pipeline(asked.get("weights", ""), asked.get("revision", ""))
        return [*layers, *mode_layers(index, asked)]

    def check(self, plan: Plan) -> list[str]:
        """Check the plan against the signature of the pipeline's call, and read its pictures.

        Raises:
            UsageError: the call does not take what is asked for, or needs more.
        """
        self._need_packages()
        from backends.diffusers.call import check_call
        from backends.diffusers.defaults import read_pipeline
        from navicache_cli.media.picture_in import check_picture
        from navicache_cli.media.video_in import probe_video

        _, call, _ = read_pipeline(plan.weights, plan.revision)
        check_call(call, plan)
        notes = [note for path in (plan.image, plan.last_image) if path for note in check_picture(path)]
        if plan.source_video:
            probe_video(expand_user(plan.source_video))
        return notes + _about_offload(plan)

    def load(self, plan: Plan) -> DiffusersPipeline:
        self._need_packages()
        from backends.diffusers.loading import load

        return load(plan)

    def _need_packages(self) -> None:
        missing = [package.requirement for package in PACKAGES if not package.fits()]
        if missing:
            raise BackendError(
                f"diffusers expects the packages {', '.join(one.requirement for one in PACKAGES)}; "
                f"missing: {', '.join(missing)}",
                INSTALL,
            )


def _about_offload(plan: Plan) -> list[str]:
    import torch

    from backends.diffusers.call import asked

    if plan.offload and not torch.cuda.is_available():
        return ["offload has no effect without a GPU"]
    if asked(plan, "offload_by") and not plan.offload:
        return ["offload-by has no effect without --offload"]
    return []
