"""The `navicache` program: options to requests, errors to exit codes, nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .errors import Interrupted, NavicacheError, OutputError

app = typer.Typer(
    name="navicache",
    help="Video diffusion made faster without training: steps whose output hardly changes are skipped.",
    epilog="Exit codes: 0 done, 2 wrong option or prompt, 3 model family not available, 4 weights, 5 cache does "
    "not fit the model, 6 output or report file, 7 out of GPU memory, 130 interrupted.",
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


@app.command("generate")
def _generate(
    model: Annotated[str | None, typer.Option(help="Model family: tiny, wan, hunyuan, opensora.", rich_help_panel=WHAT)] = None,
    task: Annotated[str | None, typer.Option(help="Task of the model, such as t2v-1.3B.", rich_help_panel=WHAT)] = None,
    prompt: Annotated[str | None, typer.Option(help="What the video shows.  [default: the preset's example]", rich_help_panel=WHAT)] = None,
    prompt_file: Annotated[str | None, typer.Option(help="Read the prompt from a file; - is standard input.", metavar="FILE", rich_help_panel=WHAT)] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the video should not show.", rich_help_panel=WHAT)] = None,
    image: Annotated[str | None, typer.Option(help="First frame, for image-to-video tasks.", metavar="FILE", rich_help_panel=WHAT)] = None,
    last_image: Annotated[str | None, typer.Option(help="Last frame, for first-and-last-frame tasks.", metavar="FILE", rich_help_panel=WHAT)] = None,
    reference_images: Annotated[str | None, typer.Option(help="Pictures of what the video shows, for reference tasks.", metavar="FILE,FILE", rich_help_panel=WHAT)] = None,
    size: Annotated[str | None, typer.Option(help="Width x height in pixels.", metavar="WxH", rich_help_panel=WHAT)] = None,
    frames: Annotated[str | None, typer.Option(help="Number of frames.", metavar="N", rich_help_panel=WHAT)] = None,
    steps: Annotated[str | None, typer.Option(help="Denoising steps.", metavar="N", rich_help_panel=SAMPLER)] = None,
    seed: Annotated[str | None, typer.Option(help="Seed of the noise: same seed, same video.", metavar="N", rich_help_panel=SAMPLER)] = None,
    guidance: Annotated[str | None, typer.Option(help="Classifier-free guidance scale; 1 turns it off.", metavar="X", rich_help_panel=SAMPLER)] = None,
    shift: Annotated[str | None, typer.Option(help="Noise schedule shift.", metavar="X", rich_help_panel=SAMPLER)] = None,
    solver: Annotated[str | None, typer.Option(help="Sampler of the model: unipc or dpm++ for tiny and wan.", rich_help_panel=SAMPLER)] = None,
    weights: Annotated[str | None, typer.Option(help="Folder of weights, instead of the model's own; wan also takes random and random-small.", metavar="DIR", rich_help_panel=MODEL)] = None,
    repo: Annotated[str | None, typer.Option(help="Checkout of the model's official repository.", metavar="DIR", rich_help_panel=MODEL)] = None,
    offload: Annotated[bool | None, typer.Option("--offload/--no-offload", help="Move parts that are idle off the GPU.", rich_help_panel=MODEL)] = None,
    t5_cpu: Annotated[bool | None, typer.Option("--t5-cpu/--no-t5-cpu", help="Run the T5 text encoder on the CPU.", rich_help_panel=MODEL)] = None,
    mode: Annotated[str | None, typer.Option(help="fast, mid or slow skip fewer and fewer steps; off computes all.  [default: fast]", rich_help_panel=CACHE)] = None,
    method: Annotated[str | None, typer.Option(help="Caching method: navicache, easycache or off.", rich_help_panel=CACHE)] = None,
    threshold: Annotated[str | None, typer.Option(help="Predicted relative error to stay under; larger skips more.", metavar="X", rich_help_panel=CACHE)] = None,
    align_steps: Annotated[str | None, typer.Option(help="First steps that are always computed.", metavar="N", rich_help_panel=CACHE)] = None,
    estimator: Annotated[str | None, typer.Option(help="Filter of the ratio: scalar or dual.", rich_help_panel=CACHE)] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Path of the video (.mp4); the report goes beside it (.json).", metavar="FILE", rich_help_panel=OUTPUT)] = None,
    output_dir: Annotated[str | None, typer.Option(help="Folder for a video named by its prompt.  [default: videos]", metavar="DIR", rich_help_panel=OUTPUT)] = None,
    overwrite: Annotated[bool | None, typer.Option("--overwrite", help="Replace an existing video.", rich_help_panel=OUTPUT)] = None,
    baseline: Annotated[bool | None, typer.Option("--baseline", help="Also run uncached with the same seed; report speedup, PSNR and SSIM.", rich_help_panel=OUTPUT)] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of options.", metavar="FILE", rich_help_panel=OUTPUT)] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any option as key=value; may be repeated.", metavar="KEY=VALUE", rich_help_panel=OUTPUT)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the resolved plan and stop.", rich_help_panel=OUTPUT)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, nothing else.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the video's path, nothing else.", rich_help_panel=OUTPUT)] = False,
) -> None:  # fmt: skip
    """Generate a video and a report of what was skipped.

    Every option has a default: preset < --config < environment NAVICACHE_<OPTION> < flags.
    """
    flags = dict(locals())
    for name in ("prompt_file", "config", "assignments", "dry_run", "as_json", "quiet"):
        del flags[name]
    from .commands.generate import build_plan, generate, read_prompt
    from .errors import UsageError

    if prompt_file is not None:
        if prompt is not None:
            raise UsageError("both --prompt and --prompt-file were given, one was expected", "drop one of them")
        flags["prompt"] = read_prompt(prompt_file)
    plan = build_plan(flags, assignments or [], config, dict(os.environ))
    generate(plan, quiet=quiet, as_json=as_json, dry_run=dry_run)


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


def main() -> None:
    """Run the program; every error becomes one line, a next step and an exit code."""
    try:
        code = app(standalone_mode=False)
    except NavicacheError as error:
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        sys.exit(_fail(Interrupted("stopped before the video was finished; nothing was written", "run it again")))
    except BrokenPipeError:
        sys.exit(_fail(OutputError("the reader of standard output went away", "")))
    except typer.Abort:
        sys.exit(Interrupted.exit_code)
    except Exception as error:
        # Click's own errors (a wrong flag) know how to show themselves and which code to exit with.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: NavicacheError) -> int:
    if _debug:
        import traceback

        traceback.print_exc()
    from .terminal import show_error

    show_error(error)
    return error.exit_code


if __name__ == "__main__":
    main()
