"""The `navicache` program: options to requests, errors to exit codes, nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .errors import InterruptedRunError, NavicacheError, OutputError, UsageError

app = typer.Typer(
    name="navicache",
    help="Video diffusion made faster without training: steps whose output hardly changes are skipped.",
    epilog="Exit codes: 0 done, 2 wrong option or prompt, 3 model family or package not available, "
    "4 weights, 5 cache does not fit the model, 6 output or report file, 7 out of GPU memory, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        print(f"navicache {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
) -> None:
    global _debug
    _debug = debug


_debug = False
WHAT, SAMPLER, MODEL, CACHE, OUTPUT = "What to generate", "Sampler", "Model", "Cache", "Output"
# Values stay text here: the plan parses flags, environment and files alike, with the same messages.
Text = str | None
Switch = bool | None


def opt(panel: str, text: str, metavar: str | None = None, *names: str) -> Any:
    """Describe an option of `generate`; without `names` it is called like its parameter."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)


@app.command("generate")
def _generate(
    model: Annotated[Text, opt(WHAT, "Model family: tiny, wan, hunyuan, opensora.  [default: tiny]")] = None,
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
    """Generate a video and a report of what was skipped.

    Every option has a default: preset < --config < environment NAVICACHE_<OPTION> < flags.
    """
    flags = dict(locals())
    for name in ("prompt_file", "config", "assignments", "dry_run", "as_json", "quiet"):
        del flags[name]
    from .commands.generate import build_plan, generate, read_prompt

    if prompt_file is not None:
        if prompt is not None:
            raise UsageError(
                "both --prompt and --prompt-file were given, one was expected", "drop one of them"
            )
        flags["prompt"] = read_prompt(prompt_file)
    plan = build_plan(flags, assignments or [], config, dict(os.environ))
    generate(plan, quiet=quiet, as_json=as_json, dry_run=dry_run)


@app.command("calibrate")
def _calibrate(
    model: Annotated[Text, typer.Option(help="Model family.  [default: tiny]")] = None,
    task: Annotated[Text, typer.Option(help="Task of the model, such as t2v-1.3B.")] = None,
    prompt: Annotated[
        Text, typer.Option(help="What the video shows.  [default: the preset's example]")
    ] = None,
    steps: Annotated[Text, typer.Option(help="Denoising steps.", metavar="N")] = None,
    seed: Annotated[Text, typer.Option(help="Seed of the noise.", metavar="N")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the ratios go (.json).", metavar="FILE")
    ] = Path("ratios.json"),
    overwrite: Annotated[Switch, typer.Option("--overwrite", help="Replace an existing file.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any option of generate; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the path, nothing else.")] = False,
) -> None:
    """Measure the magnitude ratios that --method magcache needs, for a model that has none.

    Generates once with every step computed. The file then goes to generate --set ratios=FILE.
    """
    from .commands.calibrate import calibrate
    from .commands.generate import build_plan

    if output.suffix.lower() != ".json":
        raise UsageError(
            f"output expects a file ending in .json, found {str(output)[-60:]!r}", "-o ratios.json"
        )
    flags = {"model": model, "task": task, "prompt": prompt, "steps": steps, "seed": seed}
    plan = build_plan(
        {**flags, "overwrite": overwrite, "mode": "off"}, assignments or [], None, dict(os.environ)
    )
    calibrate(plan, output.expanduser(), quiet)


@app.command("presets")
def _presets(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the cache settings of every mode."""
    from .commands.listing import show_presets

    show_presets(model, as_json)


@app.command("models")
def _models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the model families, their tasks and sizes, and whether they can run here."""
    from .commands.listing import show_models

    show_models(as_json)


@app.command("setup")
def _setup(
    family: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="wan, hunyuan, opensora, or videosys (Open-Sora in VideoSys)."),
    ],
    repo_url: Annotated[
        str, typer.Option(metavar="URL", help="Clone from there, such as a mirror or a local path.")
    ] = "",
    commit: Annotated[
        str, typer.Option(metavar="HASH", help="Commit to check out.  [default: the tested one]")
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="NAME", help="Also download these weights, such as Wan2.1-T2V-1.3B.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands and change nothing.")
    ] = False,
) -> None:
    """Bring a model's official code, its Python packages and weights to this machine.

    What is there already stays as it is; a download that was cut off goes on where it stopped.
    """
    from .commands.setup import setup

    setup(family, repo_url, commit, weights, dry_run)


@app.command("doctor")
def _doctor(
    model: Annotated[str, typer.Option(help="Look at what this model needs.  [default: all, in short]")] = "",
    task: Annotated[str, typer.Option(help="Task of the model.  [default: the preset's]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is there, what is missing, and the command that mends it.

    Exit code 0 when `generate` would start for the model (without --model: for tiny), 4 when only its weights
    are missing, else 3.
    """
    from .commands.doctor import doctor

    raise typer.Exit(doctor(model, task, as_json))


@app.command("metrics")
def _metrics(
    a: Annotated[Path, typer.Argument(metavar="A", help="A video, or a folder of videos: the reference.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The video, or the folder, to compare with it.")],
    lpips: Annotated[
        bool | None,
        typer.Option(
            "--lpips/--no-lpips",
            help="Insist on LPIPS and download its weights (233 MiB) if needed, or leave it out.  "
            "[default: where package and weights are there]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every frame's figures.")] = False,
) -> None:
    """Compare videos: PSNR, SSIM and LPIPS, per frame and in total.

    Two files, or two folders whose videos have the same names. The convention is that of VideoSys's common
    metrics, which the papers on caching report.
    """
    from .commands.metrics import metrics

    metrics(a, b, lpips, as_json)


@app.command("plot")
def _plot(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT...", help="Reports of generate (.json), or one CSV of measured changes."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture, .png or .svg.  [default: beside the first report]",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on a dark ground.")] = False,
) -> None:
    """Draw reports: steps, error against threshold, ratio with its ±2σ, innovations.

    Several reports: skip frequency and compute ratio per step. A CSV with the columns prompt, step,
    input_rel_l1 and output_rel_l1: how well each estimator foretells the output's change.
    """
    from .commands.plot import plot

    plot(sources, output, dark)


def main() -> None:
    """Run the program; every error becomes one line, a next step and an exit code."""
    try:
        # Typer turns a KeyboardInterrupt into this code; any other way out is an exception.
        code = app(standalone_mode=False) or 0
        if code == InterruptedRunError.exit_code:
            raise InterruptedRunError(
                "stopped before the video was finished; nothing was written",
                "run it again: the same seed gives the same video",
            )
    except NavicacheError as error:
        code = _fail(error)
    except BrokenPipeError:
        code = _fail(OutputError("the reader of standard output went away"))
    except Exception as error:
        # Click's own errors (a wrong flag) know how to show themselves and which code to exit with.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", UsageError.exit_code)
    sys.exit(code)


def _fail(error: NavicacheError) -> int:
    if _debug:
        import traceback

        traceback.print_exc()
    from .distributed import process_name
    from .terminal import show_error

    error.message = process_name() + error.message
    show_error(error)
    return error.exit_code


if __name__ == "__main__":
    main()
