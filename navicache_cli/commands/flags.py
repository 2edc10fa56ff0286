"""The options of `generate`, declared once; other commands take them over by `shared_options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WHAT, SAMPLER, MODEL, CACHE, OUTPUT = "What to generate", "Sampler", "Model", "Cache", "Output"
# Values stay text here: the plan parses flags, environment and files alike, with the same messages.
Text = str | None
Switch = bool | None


def opt(panel: str, text: str, metavar: str | None = None, *names: str) -> Any:
    """Describe an option; without `names` it is called like its parameter."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)


def generate_options(
    model: Annotated[
        Text, opt(WHAT, "Model family: tiny, wan, hunyuan, opensora, or another package's.  [default: tiny]")
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
        Text, opt(WHAT, "Video of where to change it: white is made anew.", "FILE")
    ] = None,
    size: Annotated[
        Text, opt(WHAT, "Width x height in pixels; for opensora also 480p and such.", "WxH")
    ] = None,
    aspect_ratio: Annotated[
        Text, opt(WHAT, "Height to width, for opensora's sizes by name: 9:16 is landscape.", "H:W")
    ] = None,
    frames: Annotated[Text, opt(WHAT, "Number of frames; for opensora also 4s and such.", "N")] = None,
    steps: Annotated[Text, opt(SAMPLER, "Denoising steps.", "N")] = None,
    seed: Annotated[Text, opt(SAMPLER, "Seed of the noise: same seed, same video.", "N")] = None,
    guidance: Annotated[Text, opt(SAMPLER, "Classifier-free guidance scale; 1 turns it off.", "X")] = None,
    embedded_guidance: Annotated[
        Text, opt(SAMPLER, "Scale told to hunyuan's guidance-distilled transformer.", "X")
    ] = None,
    shift: Annotated[Text, opt(SAMPLER, "Noise schedule shift.", "X")] = None,
    solver: Annotated[Text, opt(SAMPLER, "The model's sampler: unipc or dpm++ for tiny and wan.")] = None,
    weights: Annotated[
        Text, opt(MODEL, "Folder of weights; for the official models also random, random-small.", "DIR")
    ] = None,
    repo: Annotated[Text, opt(MODEL, "Checkout of the model's official repository.", "DIR")] = None,
    offload: Annotated[
        Switch, opt(MODEL, "Move parts that are idle off the GPU.", None, "--offload/--no-offload")
    ] = None,
    t5_cpu: Annotated[
        Switch, opt(MODEL, "Run the T5 text encoder on the CPU.", None, "--t5-cpu/--no-t5-cpu")
    ] = None,
    fp8: Annotated[
        Switch, opt(MODEL, "Hold the transformer's weights in 8 bits (hunyuan).", None, "--fp8/--no-fp8")
    ] = None,
    ulysses: Annotated[
        Text, opt(MODEL, "Processes, under torchrun, that share a sequence by heads.", "N")
    ] = None,
    ring: Annotated[Text, opt(MODEL, "Processes that share a sequence by parts.", "N")] = None,
    fsdp: Annotated[
        Switch, opt(MODEL, "Share the weights among the processes too.", None, "--fsdp/--no-fsdp")
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
        Text, opt(CACHE, "Predicted relative error to stay under; more skips more.", "X")
    ] = None,
    align_steps: Annotated[Text, opt(CACHE, "First steps that are always computed.", "N")] = None,
    estimator: Annotated[Text, opt(CACHE, "Filter of the feature-change ratio: scalar or dual.")] = None,
    predictor: Annotated[
        Text, opt(CACHE, "How a skipped output is rebuilt: residual, hold or calibrated.")
    ] = None,
    speedup: Annotated[
        Text, opt(CACHE, "In place of a mode: steps over computed steps, such as 2.", "X")
    ] = None,
    compute: Annotated[Text, opt(CACHE, "The same as a share of steps computed, such as 0.5.", "X")] = None,
    max_error: Annotated[
        Text, opt(CACHE, "Skip no more once the latents are expected to end so far off: 0.05 is 5%.", "X")
    ] = None,
    output: Annotated[
        Text, opt(OUTPUT, "The video (.mp4); its report goes beside it (.json).", "FILE", "--output", "-o")
    ] = None,
    output_dir: Annotated[
        Text, opt(OUTPUT, "Folder of videos named by prompt.  [default: videos]", "DIR")
    ] = None,
    overwrite: Annotated[Switch, opt(OUTPUT, "Replace an existing video.", None, "--overwrite")] = None,
    baseline: Annotated[
        Switch, opt(OUTPUT, "Also run uncached; report speedup, PSNR, SSIM.", None, "--baseline")
    ] = None,
    trajectory: Annotated[
        Switch, opt(OUTPUT, "Record all steps for `replay`; needs --mode off.", None, "--trajectory")
    ] = None,
    config: Annotated[Path | None, opt(OUTPUT, "YAML file of options.", "FILE")] = None,
    assignments: Annotated[
        list[str] | None, opt(OUTPUT, "Any option; may be repeated.", "KEY=VALUE", "--set")
    ] = None,
    dry_run: Annotated[bool, opt(OUTPUT, "Show the resolved plan and stop.", None, "--dry-run")] = False,
    as_json: Annotated[bool, opt(OUTPUT, "Print the report as JSON, nothing else.", None, "--json")] = False,
    quiet: Annotated[
        bool, opt(OUTPUT, "Print the video's path, nothing else.", None, "--quiet", "-q")
    ] = False,
) -> None:
    """Declare the options; never called."""
