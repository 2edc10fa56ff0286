"""The `navicache` program: options to requests, errors to exit codes, nothing else."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from navicache_cli import __version__, streams
from navicache_cli.commands.export_tiny import export_tiny_command
from navicache_cli.commands.flags import OUTPUT, Switch, Text, generate_options, opt
from navicache_cli.commands.shared_options import takes_options_of
from navicache_cli.errors import (
    InterruptedRunError,
    NavicacheError,
    ReaderGoneError,
    UsageError,
    known_error,
)
from navicache_cli.files import published
from navicache_cli.interruption import exit_code_of, stop_on_signals, stopped_run
from navicache_cli.reading import expand_user
from navicache_cli.threads import let_waiting_threads_sleep


@contextmanager
def _told() -> Iterator[None]:
    """Turn being stopped into an error that says what there is of the work; typer would end without a word.

    Raises:
        InterruptedRunError: Ctrl-C or another signal came, and the command said nothing of it itself.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise stopped_run(published) from None


def _paragraphs(text: str | None) -> str:
    """Return a help text with one line per paragraph."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class Commands(TyperGroup):
    """The commands, which are told when they are stopped: while options are read, and while they run.

    Their help wraps at the terminal's width, and what is in brackets is shown, not taken for rich's markup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in self.commands.values():
            command.help = escape(_paragraphs(command.help))
            for parameter in command.params:
                parameter.help = escape(parameter.help or "")  # type: ignore[attr-defined]

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _told():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _told():
            return super().invoke(ctx)


class Program(typer.Typer):
    """The program: being stopped is told while commands are put together, too."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the program."""
        with _told():
            return super().__call__(*arguments, **options)


app = Program(
    name="navicache",
    cls=Commands,
    help="Make video diffusion faster without training: skip the steps whose output hardly changes.",
    epilog="Exit codes: 0 done, 1 internal error, 2 wrong option or prompt, 3 model family or package not "
    "available, 4 weights missing or wrong, 5 cache does not fit the model, 6 file cannot be read or "
    "written, 7 out of memory, 8 some videos of a batch failed, 130 interrupted (129, 131, 143 by signals "
    "HUP, QUIT, TERM), 141 the reader of a pipe closed it.",
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


@app.command("generate")
@takes_options_of(generate_options, leaving_out=())
def _generate(**options: Any) -> None:
    """Generate a video and a report of what was skipped.

    Every option has a default: preset < --config < environment NAVICACHE_<OPTION> < flags.
    """
    from navicache_cli.commands.generate import build_plan, generate, read_prompt

    show = {name: options.pop(name) for name in ("dry_run", "as_json", "quiet")}
    config, assignments, prompt_file = (
        options.pop(name) for name in ("config", "assignments", "prompt_file")
    )
    if prompt_file is not None:
        if options["prompt"] is not None:
            raise UsageError(
                "both --prompt and --prompt-file were given, one was expected", "drop one of them"
            )
        options["prompt"] = read_prompt(prompt_file)
    inputs = [Path(file) for file in (config, prompt_file) if file is not None]
    generate(build_plan(options, assignments or [], config, dict(os.environ)), inputs=inputs, **show)


BATCH = "Batch"


@app.command("batch")
@takes_options_of(generate_options, leaving_out=("prompt_file", "output", "ulysses", "ring", "fsdp"))
def _batch(
    file: Annotated[
        Path,
        typer.Argument(
            help="Prompts: .txt (one per line), .csv or .jsonl (a column or key for any option), or VBench's "
            "full-info .json."
        ),
    ],
    name: Annotated[
        str,
        opt(
            BATCH,
            "File names of the videos, from {row} {prompt} {slug} {n} {seed} {model} {task} {mode} {method}; "
            "VBench expects {prompt}-{n}.mp4.",
            "TEMPLATE",
        ),
    ] = "{row}-{slug}-{method}-{mode}-{seed}.mp4",
    seeds: Annotated[int, opt(BATCH, "Videos per prompt, with seeds counting up from --seed.", "N")] = 1,
    methods: Annotated[Text, opt(BATCH, "Make every video with each of these methods.", "NAMES")] = None,
    modes: Annotated[Text, opt(BATCH, "Make every video in each of these modes.", "NAMES")] = None,
    shard: Annotated[Text, opt(BATCH, "Make only part I of N, for array jobs.", "I/N")] = None,
    retry: Annotated[int, opt(BATCH, "Retry a failed video up to N times.", "N")] = 0,
    max_failures: Annotated[int, opt(BATCH, "Stop after N failed videos; 0 never stops early.", "N")] = 0,
    engine: Annotated[str, opt(BATCH, "serial: in this process; ray: in several, on all GPUs.")] = "serial",
    workers: Annotated[
        int | None, opt(BATCH, "Number of Ray processes.  [default: one per GPU or CPU core]", "N")
    ] = None,
    ray_address: Annotated[
        Text, opt(BATCH, "Address of a running Ray cluster.  [default: this machine only]", "HOST:PORT")
    ] = None,
    output_dir: Annotated[
        Text, opt(OUTPUT, "Folder for videos/, reports/ and the manifest.  [default: batch]", "DIR")
    ] = None,
    dry_run: Annotated[bool, opt(OUTPUT, "Show what would run and stop.", None, "--dry-run")] = False,
    as_json: Annotated[bool, opt(OUTPUT, "Print only the outcome, as JSON.", None, "--json")] = False,
    quiet: Annotated[bool, opt(OUTPUT, "Show only errors.", None, "--quiet", "-q")] = False,
    **options: Any,
) -> None:
    """Generate a video for every prompt in a file; run it again to resume.

    The options of `generate` are the defaults for all videos; columns of the file override them. Exit code 8
    means that some videos failed.
    """
    from navicache_cli.commands.batch import Choices, batch
    from navicache_cli.commands.generate import option_layers

    config, assignments = options.pop("config"), options.pop("assignments") or []
    flags = {**options, "output_dir": output_dir}
    layers = option_layers(flags, assignments, config, dict(os.environ))
    choices = Choices(name, seeds, methods, modes, shard, retry, max_failures, engine, workers, ray_address)
    batch(file, layers, choices, dry_run=dry_run, as_json=as_json, quiet=quiet)


LPIPS_HELP = (
    "Require LPIPS, downloading its weights (233 MiB) if needed, or leave it out.  "
    "[default: used if package and weights are installed]"
)
COMPARED = "What to compare"
# Of generate: what a comparison decides itself, and where a single video would go.
NOT_COMPARED = (
    "prompt_file", "mode", "method", "threshold", "output", "overwrite", "baseline", "dry_run", "quiet",
    "ulysses", "ring", "fsdp", "trajectory", "speedup", "compute",
)  # fmt: skip


@app.command("compare")
@takes_options_of(generate_options, leaving_out=NOT_COMPARED)
def _compare(
    methods: Annotated[
        Text,
        opt(COMPARED, "Comma-separated methods, or fewer-steps.  [default: all, or those swept]", "NAMES"),
    ] = None,
    modes: Annotated[Text, opt(COMPARED, "Modes to run each method in.  [default: all]", "NAMES")] = None,
    sweep: Annotated[
        list[str] | None,
        opt(
            COMPARED,
            "Sweep a method's option from A to B in N values; may be repeated.",
            "METHOD.OPTION=A:B:N",
        ),
    ] = None,
    settings: Annotated[
        Path | None, opt(COMPARED, "Named settings, each a method with its options (YAML).", "FILE")
    ] = None,
    prompts: Annotated[
        Path | None,
        opt(COMPARED, "One prompt per line.  [default: --prompt, or the preset's examples]", "FILE"),
    ] = None,
    seeds: Annotated[int, opt(COMPARED, "Seeds per prompt, counting up from --seed.", "N")] = 1,
    lpips: Annotated[bool | None, opt(COMPARED, LPIPS_HELP, None, "--lpips/--no-lpips")] = None,
    page: Annotated[bool, opt(COMPARED, "Also write index.html.", None, "--page/--no-page")] = True,
    output_dir: Annotated[
        Text,
        opt(OUTPUT, "Folder for the comparison; finished cells in it are kept.  [default: compare]", "DIR"),
    ] = None,
    as_json: Annotated[bool, opt(OUTPUT, "Print only compare.json.", None, "--json")] = False,
    **options: Any,
) -> None:
    """Compare methods with the uncached baseline: work, time, PSNR, SSIM, LPIPS, and a page of videos.

    Generates every prompt with every seed, uncached and with every method. You can stop it at any time: the
    same command resumes and keeps what was finished.
    """
    from navicache_cli.commands.compare import Request, compare

    assignments, config = options.pop("assignments") or [], options.pop("config")
    request = Request(methods, modes, tuple(sweep or ()), settings, prompts, seeds, lpips, page, as_json)
    compare(request, {**options, "output_dir": output_dir}, assignments, config)


@app.command("batch-report")
def _batch_report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --output-dir of the batch.")],
    page: Annotated[bool, typer.Option("--page/--no-page", help="Also write index.html.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print only batch-report.json.")] = False,
) -> None:
    """Sum up a batch, finished or not: skip ratios, speedup, fidelity, skips per step, videos to look at.

    Writes batch-report.json and a page into the folder. Speedup, PSNR and SSIM need videos made
    with --baseline.
    """
    from navicache_cli.commands.batch_report import batch_report

    batch_report(expand_user(folder), page, as_json)


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
        Path, typer.Option("--output", "-o", help="File for the ratios (.json).", metavar="FILE")
    ] = Path("ratios.json"),
    overwrite: Annotated[Switch, typer.Option("--overwrite", help="Replace an existing file.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set any option of generate; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path.")] = False,
) -> None:
    """Measure the magnitude ratios that --method magcache needs, for a model that has none.

    Generates one video with every step computed. Pass the file on with generate --set ratios=FILE.
    """
    from navicache_cli.commands.calibrate import calibrate
    from navicache_cli.commands.generate import build_plan

    if output.suffix.lower() != ".json":
        raise UsageError(
            f"output expects a file ending in .json, found {str(output)[-60:]!r}", "-o ratios.json"
        )
    flags = {"model": model, "task": task, "prompt": prompt, "steps": steps, "seed": seed}
    plan = build_plan(
        {**flags, "overwrite": overwrite, "mode": "off"}, assignments or [], None, dict(os.environ)
    )
    calibrate(plan, expand_user(output), quiet)


@app.command("presets")
def _presets(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the cache settings of every mode."""
    from navicache_cli.commands.listing import show_presets

    show_presets(model, as_json)


@app.command("models")
def _models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the model families, their tasks and sizes, and whether they can run here."""
    from navicache_cli.commands.listing import show_models

    show_models(as_json)


@app.command("setup")
def _setup(
    family: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="wan, hunyuan, opensora, or videosys (Open-Sora in VideoSys)."),
    ],
    repo_url: Annotated[
        str, typer.Option(metavar="URL", help="Clone from this address, such as a mirror or a local path.")
    ] = "",
    commit: Annotated[
        str, typer.Option(metavar="HASH", help="Commit to check out.  [default: the tested one]")
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="NAME", help="Also download these weights, such as Wan2.1-T2V-1.3B.")
    ] = "",
    revision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OWNER/NAME=]HASH",
            help="Commit of the weights' repository; may be repeated.  "
            "[default: that of an earlier download, or the newest]",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands and change nothing.")
    ] = False,
) -> None:
    """Install a model's official code, its Python packages and its weights.

    Leaves what is already there as it is, and resumes a download that was cut off.
    """
    from navicache_cli.commands.setup import setup

    setup(family, repo_url, commit, weights, dry_run, revision or [])


@app.command("doctor")
def _doctor(
    model: Annotated[
        str, typer.Option(help="Check what this model needs.  [default: a summary of all]")
    ] = "",
    task: Annotated[str, typer.Option(help="Task of the model.  [default: the preset's]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is installed, what is missing, and how to fix it.

    Exit code 0 means that `generate` would start for the model (tiny without --model), 4 that only its
    weights are missing, 3 that something else is.
    """
    from navicache_cli.commands.doctor import doctor

    raise typer.Exit(doctor(model, task, as_json))


@app.command("metrics")
def _metrics(
    a: Annotated[Path, typer.Argument(metavar="A", help="A video, or a folder of videos: the reference.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The video, or the folder, to compare with it.")],
    lpips: Annotated[bool | None, typer.Option("--lpips/--no-lpips", help=LPIPS_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every frame's figures.")] = False,
) -> None:
    """Compare videos: PSNR, SSIM and LPIPS, per frame and in total.

    Two files, or two folders whose videos have the same names. Follows the convention of VideoSys's
    common metrics, which papers on caching report.
    """
    from navicache_cli.commands.metrics import metrics

    metrics(expand_user(a), expand_user(b), lpips, as_json)


evaluation = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Score videos: VBench, and PSNR, SSIM and LPIPS of whole folders.",
)
app.add_typer(evaluation, name="eval")
SCORED = "What to score"


@evaluation.command("vbench")
@takes_options_of(
    generate_options,
    leaving_out=("prompt", "prompt_file", "output", "dry_run", "quiet", "ulysses", "ring", "fsdp"),
)
def _eval_vbench(
    dimensions: Annotated[
        Text, opt(SCORED, "Comma-separated dimensions of VBench.  [default: all 16]", "NAMES")
    ] = None,
    prompts: Annotated[
        Path | None, opt(SCORED, "VBench's list of prompts.  [default: the one in the package]", "FILE")
    ] = None,
    seeds: Annotated[
        int,
        opt(SCORED, "Videos per prompt, with seeds from --seed on; VBench's own figures use 5.", "N"),
    ] = 5,
    videos: Annotated[
        Path | None,
        opt(SCORED, "Score the videos in this folder, named {prompt}-{n}.mp4, and generate none.", "DIR"),
    ] = None,
    vbench_python: Annotated[
        Text, opt(SCORED, "A Python that has the package vbench.  [default: this one]", "FILE")
    ] = None,
    scores: Annotated[
        Path | None, opt(OUTPUT, "Folder for the scores.  [default: that of --output-dir]", "DIR")
    ] = None,
    page: Annotated[bool, opt(OUTPUT, "Also write index.html.", None, "--page/--no-page")] = True,
    output_dir: Annotated[
        Text, opt(OUTPUT, "Folder of the videos, as for navicache batch.  [default: vbench]", "DIR")
    ] = None,
    as_json: Annotated[bool, opt(OUTPUT, "Print only vbench.json.", None, "--json")] = False,
    **options: Any,
) -> None:
    """Score a setting with VBench: each dimension, and the quality, semantic and total scores.

    Generates the videos for VBench's prompts, or uses those in --videos, and runs the package vbench for each
    dimension. You can stop it at any time: the same command resumes. Exit code 3 means that a dimension has
    no score.
    """
    from navicache_cli.commands.eval_vbench import Request, eval_vbench

    assignments, config = options.pop("assignments") or [], options.pop("config")
    request = Request(dimensions, prompts, videos, seeds, scores, vbench_python, page, as_json)
    eval_vbench(request, {**options, "output_dir": output_dir}, assignments, config)


@evaluation.command("common")
def _eval_common(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of the reference videos.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of videos with the same names.")],
    lpips: Annotated[bool | None, typer.Option("--lpips/--no-lpips", help=LPIPS_HELP)] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Also write index.html.")] = True,
    output_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results; pairs already measured are kept.")
    ] = Path("common-metrics"),
    as_json: Annotated[bool, typer.Option("--json", help="Print only common_metrics.json.")] = False,
) -> None:
    """PSNR, SSIM and LPIPS of two folders, in the convention of VideoSys's common metrics, with a page.

    Like `metrics`, for many videos. You can stop it at any time: the same command resumes.
    """
    from navicache_cli.commands.eval_common import eval_common

    eval_common(expand_user(a), expand_user(b), expand_user(output_dir), lpips, page=page, as_json=as_json)


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
            help="The picture, .png or .svg.  [default: next to the first report]",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on a dark background.")] = False,
) -> None:
    """Draw reports: steps, error against threshold, ratio with its ±2σ, innovations.

    Several reports: skip frequency and compute ratio per step. A CSV with the columns prompt, step,
    input_rel_l1 and output_rel_l1: how well each estimator predicts the output's change.
    """
    from navicache_cli.commands.plot import plot

    plot(sources, output, dark)


@app.command("replay")
def _replay(
    recordings: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="Reports of generate --mode off --trajectory.")
    ],
    method: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Caching methods.  [default: navicache]")
    ] = "",
    threshold: Annotated[
        str, typer.Option(metavar="X,X", help="Thresholds.  [default: those of the model's modes]")
    ] = "",
    align_steps: Annotated[
        int | None, typer.Option(metavar="N", help="First steps always computed.  [default: the recording's]")
    ] = None,
    estimator: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="scalar, dual.  [default: the recording's]")
    ] = "",
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD.threshold=LOW:HIGH:COUNT",
            help="Sweep the thresholds of one method, or of each with the word method; may be repeated.",
        ),
    ] = None,
    compute: Annotated[
        str,
        typer.Option(metavar="X,X", help="Budgets instead of thresholds: shares of steps to compute."),
    ] = "",
    speedup: Annotated[str, typer.Option(metavar="X,X", help="Budgets, as steps over computed steps.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print every decision as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Draw the compute ratio over the threshold, and the thresholds of budgets, .png or .svg.",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on a dark background.")] = False,
) -> None:
    """Show what other methods and thresholds would have decided on a recorded generation.

    Loads no model. Decisions match a real run up to its first skipped step. After that, a real run's latents
    differ by what the prediction misses, and a decision near the threshold may turn out differently.
    """
    from navicache_cli.commands.replay import replay

    replay(
        recordings, method, threshold, align_steps, estimator, sweep or [], compute, speedup, as_json, output,
        dark,
    )  # fmt: skip


app.command("export-tiny")(export_tiny_command)


def main() -> None:
    """Run the program; every error becomes one line, a next step and an exit code."""
    stop_on_signals()
    let_waiting_threads_sleep()
    streams.prepare()
    code = _run()
    try:
        streams.finish()
    except NavicacheError as error:
        code = code or _fail(error)
    sys.exit(code)


def _run() -> int:
    try:
        return app(standalone_mode=False) or 0
    except NavicacheError as error:
        return _fail(error)
    except KeyboardInterrupt as stop:  # While an error was shown, say; then that is cut short.
        return exit_code_of(stop)
    except Exception as error:
        if hasattr(error, "format_message"):
            return _fail_by_click(error)
        return _fail(known_error(error))


def _fail_by_click(error: Any) -> int:
    """Show click's own error (a wrong flag) as one of ours; where no command was given, it is the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return UsageError.exit_code
    command = error.ctx.command_path if getattr(error, "ctx", None) else "navicache"
    return _fail(UsageError(error.format_message(), f"{command} --help"))


def _fail(error: NavicacheError) -> int:
    if isinstance(error, ReaderGoneError):
        return error.exit_code
    if _debug:
        import traceback

        sys.stderr.write(streams.visible(traceback.format_exc(), keep="\n"))
    from navicache_cli.launch import process_name
    from navicache_cli.terminal import show_error

    error.message = process_name() + error.message
    show_error(error)
    return exit_code_of(error) if isinstance(error, InterruptedRunError) else error.exit_code


if __name__ == "__main__":
    main()
