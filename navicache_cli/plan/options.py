"""The one table of options. Flags, variables of the environment, keys of files, columns of a batch, what a
video and a setting are told apart by, checks of range and exclusions of commands all follow from it.

`plan.Plan` has a field for each. Settings that one caching method alone takes are not here, but beside its
policy; see `keys`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navicache_cli.cache.policies.factory import ESTIMATORS, METHODS, PREDICTORS
from navicache_cli.plan.option import FROM_PRESET, Option, Range, Use
from navicache_cli.values import (
    read_arguments,
    read_integer,
    read_number,
    read_size,
    read_switch,
    read_text,
    read_words,
)

WHAT, SAMPLER, MODEL, CACHE, OUTPUT = PANELS = ("What to generate", "Sampler", "Model", "Cache", "Output")


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


_CACHING = [*(name for name in METHODS if name != "off"), "off"]
DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("model", "group", "sequential")

# In the order plans are shown.
OPTIONS: dict[str, Option] = {
    "model": Option(
        read_text, Use.VIDEO | Use.LOADS | Use.USER, "tiny", WHAT,
        "Model family: tiny, wan, wan2.2, hunyuan, opensora, diffusers, or a package's.  [default: tiny]",
    ),
    "task": Option(
        read_text, Use.VIDEO | Use.LOADS, FROM_PRESET, WHAT, "Task of the model, such as t2v-1.3B."
    ),
    "mode": Option(
        read_text, Use.CACHE | Use.USER | Use.COMPARED, "fast", CACHE,
        "fast, mid or slow (fewer skips), off (none).  [default: fast]",
    ),
    "method": Option(
        read_text, Use.CACHE | Use.COMPARED, "navicache", CACHE,
        f"Caching method: {_one_of(_CACHING)}.",
    ),
    "prompt": Option(
        read_words, Use.SUBJECT, FROM_PRESET, WHAT,
        "What the video shows.  [default: the preset's example]",
    ),
    "negative_prompt": Option(
        read_words, Use.SUBJECT, FROM_PRESET, WHAT, "What the video should not show."
    ),
    "image": Option(
        read_text, Use.SUBJECT | Use.FILE, "", WHAT, "First frame, for image-to-video tasks.", "FILE",
        file="a picture's path",
    ),
    "last_image": Option(
        read_text, Use.SUBJECT | Use.FILE, "", WHAT, "Last frame, for first-and-last-frame tasks.", "FILE",
        file="a picture's path",
    ),
    "reference_images": Option(
        read_text, Use.SUBJECT | Use.FILE, "", WHAT,
        "Pictures of what the video shows, for reference tasks.", "FILE,FILE", file="pictures' paths",
    ),
    "source_video": Option(
        read_text, Use.SUBJECT | Use.FILE, "", WHAT, "Video to change, for vace tasks.", "FILE",
        file="a video's path",
    ),
    "source_mask": Option(
        read_text, Use.SUBJECT | Use.FILE, "", WHAT,
        "Mask for --source-video: white areas are generated anew.", "FILE", file="a mask video's path",
    ),
    "size": Option(
        read_size, Use.VIDEO, FROM_PRESET, WHAT,
        "Width x height in pixels; opensora also takes 480p and the like.", "WxH",
    ),
    "aspect_ratio": Option(
        read_text, Use.VIDEO | Use.FAMILY, "", WHAT,
        "Height to width, for opensora's named sizes: 9:16 is landscape.", "H:W",
    ),
    "frames": Option(
        read_integer, Use.VIDEO, FROM_PRESET, WHAT,
        "Number of frames; opensora also takes 4s and the like.", "N", range=Range(1),
    ),
    "fps": Option(
        read_integer, Use.VIDEO, FROM_PRESET, "", "Frames per second of the video.", range=Range(1, 240)
    ),
    "steps": Option(
        read_integer, Use.VIDEO, FROM_PRESET, SAMPLER, "Denoising steps.", "N", range=Range(1, 1000)
    ),
    "seed": Option(
        read_integer, Use.SUBJECT, FROM_PRESET, SAMPLER, "Seed of the noise: same seed, same video.", "N"
    ),
    "guidance": Option(
        read_number, Use.VIDEO, FROM_PRESET, SAMPLER,
        "Classifier-free guidance scale; 1 turns it off.", "X", range=Range(0),
    ),
    "embedded_guidance": Option(
        read_number, Use.VIDEO | Use.FAMILY, 0.0, SAMPLER,
        "Scale passed to hunyuan's guidance-distilled transformer.", "X", range=Range(0),
    ),
    "low_noise_guidance": Option(
        read_number, Use.VIDEO | Use.FAMILY, 0.0, SAMPLER,
        "Guidance of wan2.2's second expert; 0 is that of the first, --guidance.", "X", range=Range(0),
    ),
    "shift": Option(
        read_number, Use.VIDEO, FROM_PRESET, SAMPLER, "Noise schedule shift.", "X", range=Range(0, above=True)
    ),
    "solver": Option(
        read_text, Use.VIDEO, FROM_PRESET, SAMPLER, "The model's sampler: unipc or dpm++ for tiny and wan."
    ),
    "call": Option(
        read_arguments, Use.VIDEO | Use.FAMILY, "", SAMPLER,
        "Another argument of the pipeline's call (diffusers); may be repeated.", "KEY=VALUE", repeated=True,
    ),
    "threshold": Option(
        read_number, Use.CACHE | Use.COMPARED, 0.0, CACHE,
        "Skip while the predicted relative error is below this; higher skips more.", "X",
        variables=("NAVICACHE_THRESH",), range=Range(0),
    ),
    "align_steps": Option(
        read_integer, Use.CACHE, FROM_PRESET, CACHE, "First steps that are always computed.", "N",
        range=Range(0),
    ),
    "estimator": Option(
        read_text, Use.CACHE, FROM_PRESET, CACHE,
        f"Filter of the feature-change ratio: {_one_of(ESTIMATORS)}.", choices=ESTIMATORS,
    ),
    "predictor": Option(
        read_text, Use.CACHE | Use.PREDICTED, "residual", CACHE,
        f"How a skipped output is rebuilt: {_one_of(PREDICTORS)}.", choices=PREDICTORS,
    ),
    "speedup": Option(
        read_number, Use.CACHE | Use.PREDICTED | Use.COMPARED, 0.0, CACHE,
        "Instead of a mode: all steps over computed steps, such as 2.", "X",
    ),
    "compute": Option(
        read_number, Use.CACHE | Use.PREDICTED | Use.COMPARED, 0.0, CACHE,
        "The same, as the share of steps computed, such as 0.5.", "X",
    ),
    "schedule": Option(
        read_text, Use.CACHE | Use.PREDICTED | Use.COMPARED, "", CACHE,
        "With --speedup: compute the steps in this file of `navicache schedule`; preset: the model's own.",
        "FILE",
    ),
    "max_error": Option(
        read_number, Use.CACHE | Use.PREDICTED | Use.FAMILY, 0.0, CACHE,
        "Stop skipping at this predicted error of the final latents: 0.05 is 5%.", "X",
    ),
    "weights": Option(
        read_text, Use.VIDEO | Use.LOADS, "", MODEL,
        "Folder with weights; diffusers also takes a name on the hub, official models random, random-small.",
        "DIR",
    ),
    "repo": Option(
        read_text, Use.PLACE | Use.FAMILY | Use.LOADS, "", MODEL,
        "Checkout of the model's official repository.", "DIR",
    ),
    "offload": Option(
        read_switch, Use.PLACE | Use.FAMILY | Use.LOADS | Use.SECONDS, False, MODEL,
        "Move idle parts off the GPU.",
    ),
    "t5_cpu": Option(
        read_switch, Use.PLACE | Use.FAMILY | Use.LOADS | Use.SECONDS, False, MODEL,
        "Run the T5 text encoder on the CPU.",
    ),
    "offload_by": Option(
        read_text, Use.PLACE | Use.FAMILY | Use.LOADS | Use.SECONDS, "model", MODEL,
        f"With --offload, what is moved at a time (diffusers): {_one_of(OFFLOADS)}.", choices=OFFLOADS,
    ),
    "dtype": Option(
        read_text, Use.VIDEO | Use.FAMILY | Use.LOADS, "auto", MODEL,
        f"Numbers of the weights (diffusers, wan2.2): {_one_of(DTYPES)}; auto is bfloat16 on a GPU.",
        choices=DTYPES,
    ),
    "revision": Option(
        read_text, Use.VIDEO | Use.FAMILY | Use.LOADS, "", MODEL,
        "Branch, tag or commit of --weights on the hub (diffusers).",
    ),
    "fp8": Option(
        read_switch, Use.VIDEO | Use.FAMILY | Use.LOADS, False, MODEL,
        "Keep the transformer's weights in 8 bits (hunyuan).",
    ),
    "ulysses": Option(
        read_integer, Use.PLACE | Use.FAMILY | Use.LOADS | Use.PARALLEL, 1, MODEL,
        "Number of processes (torchrun) that split a sequence by heads.", "N", range=Range(1),
    ),
    "ring": Option(
        read_integer, Use.PLACE | Use.FAMILY | Use.LOADS | Use.PARALLEL, 1, MODEL,
        "Number of processes that split a sequence into parts.", "N", range=Range(1),
    ),
    "fsdp": Option(
        read_switch, Use.PLACE | Use.FAMILY | Use.LOADS | Use.PARALLEL, False, MODEL,
        "Also shard the weights across the processes.",
    ),
    "output": Option(
        read_text, Use.OUTPUT | Use.SINGLE, "", OUTPUT,
        "Video file (.mp4); the report goes next to it (.json).", "FILE", ("--output", "-o"),
    ),
    "output_dir": Option(
        read_text, Use.OUTPUT | Use.BATCH, "videos", OUTPUT,
        "Folder for videos named by prompt.  [default: videos]", "DIR",
    ),
    "overwrite": Option(
        read_switch, Use.OUTPUT | Use.BATCH, False, OUTPUT, "Replace an existing video.",
        flags=("--overwrite",),
    ),
    "baseline": Option(
        read_switch, Use.MEASURED, False, OUTPUT, "Also run uncached; report speedup, PSNR, SSIM.",
        flags=("--baseline",),
    ),
    "trajectory": Option(
        read_switch, Use.MEASURED, False, OUTPUT, "Record all steps for `replay`; needs --mode off.",
        flags=("--trajectory",),
    ),
}  # fmt: skip
BUILT_IN: dict[str, Any] = {
    name: option.default for name, option in OPTIONS.items() if option.default is not FROM_PRESET
}
# Keys of a preset's task that are no plan values; see `presets.Preset.tasks`.
TASK_FACTS = ("sizes", "inputs", "optional_inputs", "by_size", "methods")


def options_with(use: Use) -> tuple[str, ...]:
    """Return the names of the options that any of these uses is said of, in the order of the table."""
    return tuple(name for name, option in OPTIONS.items() if option.use & use)
