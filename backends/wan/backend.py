"""The Wan2.1 and Wan2.2 model families: what can be said before the official code is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from backends.official.distributed import check_sequence_parallel
from backends.official.official import find_device, noise_notes
from backends.official.repositories import (
    Official,
    describe_checkout,
    missing_repository,
    resolve_repository,
)
from backends.wan.pictures import check_video, reference_paths
from backends.wan.tasks import TASKS, VACE, WAN, WAN22, Task, repeated_timesteps, tasks_of
from navicache_cli.errors import BackendError, UsageError
from navicache_cli.media.picture_in import check_picture
from navicache_cli.plan.presets import OFF

if TYPE_CHECKING:
    import torch

    from backends.wan.pipeline import WanPipeline
    from navicache_cli.plan.plan import Plan


class WanBackend:
    """Wan2.1: text, image, first and last frame, and reference pictures to video; text to image."""

    name = "wan"
    official = WAN
    standins = "text encoder, VAE and CLIP"

    def problem(self) -> str:
        return missing_repository([self.official])

    def check(self, plan: Plan) -> list[str]:
        """See `Backend.check`; the notes say which official code was taken.

        Raises:
            BackendError: no official repository, no GPU, or no xfuser where several are to be used.
            UsageError: see `check_plan`.
        """
        notes = check_plan(plan, self.official)
        self.check_packages(plan)
        notes += describe_checkout(self.official, resolve_repository(self.official, plan.repo))
        choose_device(plan)
        if plan.source_video:
            notes.append(
                "the video has the length and proportions of the source video, up to 81 frames or so"
            )
        return [*noise_notes(plan.weights, self.official.title, self.standins), *notes]

    def check_packages(self, plan: Plan) -> None:
        """Check that packages are there which a plan needs beside those of the family."""
        check_sequence_parallel(plan)

    def load(self, plan: Plan) -> WanPipeline:
        from backends.wan.loading import load_pipeline

        return load_pipeline(plan, choose_device(plan))


class Wan22Backend(WanBackend):
    """Wan2.2: text or a picture to video, by two experts of 14B or by one model of 5B."""

    name = "wan2.2"
    official = WAN22
    standins = "text encoder and VAE"

    def check_packages(self, plan: Plan) -> None:
        pass  # Its sequence parallel needs torch alone, and takes PyTorch's attention too.


def check_plan(plan: Plan, official: Official) -> list[str]:
    """Check what the presets cannot say, and return notes on the pictures.

    Raises:
        UsageError: the number of frames does not fit the task, the seed is negative (the official code would
            draw another one each time), steps share timesteps, or a picture or video cannot be read.
        BackendError: the package that reads source videos is missing.
    """
    name = official.name
    task = TASKS.get(plan.task)
    if task is None or task.official != official:
        raise UsageError(
            f"{name} expects a task of {', '.join(tasks_of(official))}, found {plan.task!r}",
            "set it with --task",
        )
    if task.frames and plan.frames != task.frames:
        raise UsageError(
            f"frames expects {task.frames} for {name} {plan.task}, found {plan.frames} "
            f"({plan.provenance['frames']})",
            f"--frames {task.frames}",
        )
    if plan.seed < 0:
        raise UsageError(
            f"seed expects 0 or more for {name}, found {plan.seed} ({plan.provenance['seed']})", "--seed 0"
        )
    repeated = repeated_timesteps(plan.steps, plan.shift, plan.solver)
    if repeated and plan.method != OFF:
        raise UsageError(
            f"{plan.steps} steps at shift {plan.shift:g} make {official.title}'s {plan.solver} give "
            f"{repeated} of them the timestep of the one before; the cache expects one timestep per step",
            "lower --steps or --shift, or choose --mode off",
        )
    if official == WAN22:
        _check_wan22(plan, task)
    pictures = [getattr(plan, option) for option in task.pictures]
    if task.may_have_picture and plan.image:
        pictures = [plan.image]
    if task.model_type == VACE:
        _check_vace_inputs(plan)
        pictures = reference_paths(plan.reference_images)
    return [note for path in pictures for note in check_picture(path)]


def _check_wan22(plan: Plan, task: Task) -> None:
    """Check options that only Wan2.2 takes; see `check_plan`."""
    if plan.low_noise_guidance and not task.experts:
        raise UsageError(
            f"low-noise-guidance expects a task with two experts, found {plan.task} "
            f"({plan.provenance['low_noise_guidance']})",
            "--guidance alone, or --task t2v-A14B",
        )
    if plan.image and task.may_have_picture and plan.frames == 1:
        raise UsageError(
            f"frames expects 5 or more for wan2.2 {plan.task} with an image, which is the first of them; "
            f"found 1 ({plan.provenance['frames']})",
            "--frames 121",
        )
    latent_frames = (plan.frames - 1) // 4 + 1
    if plan.image and task.may_have_picture and plan.method == "teacache" and plan.ulysses >= latent_frames:
        # All tokens of the first process, which decides, would be of the given frame, at timestep 0.
        raise UsageError(
            f"ulysses expects less than {latent_frames} with teacache and an image at {plan.frames} frames, "
            f"found {plan.ulysses} ({plan.provenance['ulysses']})",
            f"--ulysses {max(1, latent_frames - 1)}, more --frames, or another --method",
        )
    if plan.dtype == "float16":
        raise UsageError(
            f"dtype expects auto, bfloat16 or float32 for wan2.2, found float16 ({plan.provenance['dtype']})",
            "--dtype auto",
        )


def _check_vace_inputs(plan: Plan) -> None:
    """Check what a VACE task was given, and its source video and mask; see `check_plan`."""
    if not plan.reference_images and not plan.source_video:
        raise UsageError(
            f"wan {plan.task} expects reference pictures or a video to change, found neither",
            "--reference-images picture.png, or --source-video video.mp4",
        )
    if plan.source_mask and not plan.source_video:
        raise UsageError(
            "source-mask expects a source video to lie over, found none", "--source-video video.mp4"
        )
    for path in filter(None, (plan.source_video, plan.source_mask)):
        check_video(path)
    if plan.source_video and find_spec("decord") is None:
        raise BackendError(
            "Wan2.1 reads source videos by the package decord, which is not there", "pip install decord"
        )


def choose_device(plan: Plan) -> torch.device:
    """See `find_device`; the official FSDP needs GPUs."""
    title = TASKS[plan.task].official.title
    return find_device(title, "" if plan.fsdp else plan.weights)
