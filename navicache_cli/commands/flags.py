"""The options of `generate`, declared once; other commands take them over by `shared_options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WHAT, SAMPLER, MODEL, CACHE, OUTPUT = "What to generate", "Sampler", "Model", "Cache", "Output"
LPIPS_HELP = (
    "Require LPIPS, downloading its weights (233 MiB) if needed, or leave it out.  "
    "[default: used if package and weights are installed]"
)
# Values stay text here: the plan parses flags, environment and files alike, with the same messages.
Text = str | None
Switch = bool | None


def opt(panel: str, text: str, metavar: str | None = None, *names: str) -> Any:
    """Describe an option; without `names` it is called like its parameter."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)


def generate_options(
    model: Annotated[
        Text,
        opt(WHAT, "Model family: tiny, wan, hunyuan, opensora, or one of another package.  [default: tiny]"),
    ] = None,
    task: Annotated[Text, opt(WHAT, "Task of the model, such as t2v-1.3B.")] = None,
    prompt: Annotated[Text, opt(WHAT, "What the video shows.  [default: the preset's example]")] = None,
    prompt_file: Annotated[
        Text, opt(WHAT, "Read the prompt from a file; - is standard input.", "FILE")
    ] = None,
    negative_prompt: Annotated[Text, opt(WHAT, "What the video should not show.")] = None,
    image: Annotated[Text, opt(WHAT, "First frame, for image-to-video tasks.", "FILE")] = None,
    last_image: Annotated[Text, opt(WHAT, "Last frame, for first-and-last-frame tasks.", "FILE")] = None,
    reference_images: Annotated[
        Text, opt(WHAT, "Pictures of what the video shows, for reference tasks.", "FILE,FILE")
    ] = None,
    source_video: Annotated[Text, opt(WHAT, "Video to change, for vace tasks.", "FILE")] = None,
    source_mask: Annotated[
        Text, opt(WHAT, "Mask for --source-video: white areas are generated anew.", "FILE")
    ] = None,
    size: Annotated[
        Text, opt(WHAT, "Width x height in pixels; opensora also takes 480p and the like.", "WxH")
    ] = None,
    aspect_ratio: Annotated[
        Text, opt(WHAT, "Height to width, for opensora's named sizes: 9:16 is landscape.", "H:W")
    ] = None,
    frames: Annotated[Text, opt(WHAT, "Number of frames; opensora also takes 4s and the like.", "N")] = None,
    steps: Annotated[Text, opt(SAMPLER, "Denoising steps.", "N")] = None,
    seed: Annotated[Text, opt(SAMPLER, "Seed of the noise: same seed, same video.", "N")] = None,
    guidance: Annotated[Text, opt(SAMPLER, "Classifier-free guidance scale; 1 turns it off.", "X")] = None,
    embedded_guidance: Annotated[
        Text, opt(SAMPLER, "Scale passed to hunyuan's guidance-distilled transformer.", "X")
    ] = None,
    shift: Annotated[Text, opt(SAMPLER, "Noise schedule shift.", "X")] = None,
    solver: Annotated[Text, opt(SAMPLER, "The model's sampler: unipc or dpm++ for tiny and wan.")] = None,
    weights: Annotated[
        Text, opt(MODEL, "Folder with weights; official models also take random or random-small.", "DIR")
    ] = None,
    repo: Annotated[Text, opt(MODEL, "Checkout of the model's official repository.", "DIR")] = None,
    offload: Annotated[
        Switch, opt(MODEL, "Move idle parts off the GPU.", None, "--offload/--no-offload")
    ] = None,
    t5_cpu: Annotated[
        Switch, opt(MODEL, "Run the T5 text encoder on the CPU.", None, "--t5-cpu/--no-t5-cpu")
    ] = None,
    fp8: Annotated[
        Switch, opt(MODEL, "Keep the transformer's weights in 8 bits (hunyuan).", None, "--fp8/--no-fp8")
    ] = None,
    ulysses: Annotated[
        Text, opt(MODEL, "Number of processes (torchrun) that split a sequence by heads.", "N")
    ] = None,
    ring: Annotated[Text, opt(MODEL, "Number of processes that split a sequence into parts.", "N")] = None,
    fsdp: Annotated[
        Switch, opt(MODEL, "Also shard the weights across the processes.", None, "--fsdp/--no-fsdp")
    ] = None,
    mode: Annotated[Text, opt(CACHE, "fast, mid or slow (fewer skips), off (none).  [default: fast]")] = None,
    method: Annotated[
        Text,
        opt(
            CACHE,
            "Caching method: navicache, easycache, teacache, taylorseer, magcache, fbcache, pab or off.",
        ),
    ] = None,
    threshold: Annotated[
        Text, opt(CACHE, "Skip while the predicted relative error is below this; higher skips more.", "X")
    ] = None,
    align_steps: Annotated[Text, opt(CACHE, "First steps that are always computed.", "N")] = None,
    estimator: Annotated[Text, opt(CACHE, "Filter of the feature-change ratio: scalar or dual.")] = None,
    predictor: Annotated[
        Text, opt(CACHE, "How a skipped output is rebuilt: residual, hold or calibrated.")
    ] = None,
    speedup: Annotated[
        Text, opt(CACHE, "Instead of a mode: all steps over computed steps, such as 2.", "X")
    ] = None,
    compute: Annotated[
        Text, opt(CACHE, "The same, as the share of steps computed, such as 0.5.", "X")
    ] = None,
    max_error: Annotated[
        Text, opt(CACHE, "Stop skipping at this predicted error of the final latents: 0.05 is 5%.", "X")
    ] = None,
    output: Annotated[
        Text, opt(OUTPUT, "Video file (.mp4); the report goes next to it (.json).", "FILE", "--output", "-o")
    ] = None,
    output_dir: Annotated[
        Text, opt(OUTPUT, "Folder for videos named by prompt.  [default: videos]", "DIR")
    ] = None,
    overwrite: Annotated[Switch, opt(OUTPUT, "Replace an existing video.", None, "--overwrite")] = None,
    baseline: Annotated[
        Switch, opt(OUTPUT, "Also run uncached; report speedup, PSNR, SSIM.", None, "--baseline")
    ] = None,
    trajectory: Annotated[
        Switch, opt(OUTPUT, "Record all steps for `replay`; needs --mode off.", None, "--trajectory")
    ] = None,
    config: Annotated[Path | None, opt(OUTPUT, "YAML file with options.", "FILE")] = None,
    assignments: Annotated[
        list[str] | None, opt(OUTPUT, "Set any option; may be repeated.", "KEY=VALUE", "--set")
    ] = None,
    dry_run: Annotated[bool, opt(OUTPUT, "Show the resolved plan and stop.", None, "--dry-run")] = False,
    as_json: Annotated[bool, opt(OUTPUT, "Print only the report, as JSON.", None, "--json")] = False,
    quiet: Annotated[bool, opt(OUTPUT, "Print only the video's path.", None, "--quiet", "-q")] = False,
) -> None:
    """Declare the options; never called."""
