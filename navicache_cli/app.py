"""The `navicache` program: its commands put together, and errors turned into exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from backends.official.environments import OtherPython
from navicache_cli import __version__, streams
from navicache_cli.commands.batch import batch_command
from navicache_cli.commands.batch_report import batch_report_command
from navicache_cli.commands.calibrate import calibrate_command
from navicache_cli.commands.compare import compare_command
from navicache_cli.commands.doctor import doctor_command
from navicache_cli.commands.eval_common import eval_common_command
from navicache_cli.commands.eval_vbench import eval_vbench_command
from navicache_cli.commands.export_tiny import export_tiny_command
from navicache_cli.commands.generate import generate_command
from navicache_cli.commands.group import Commands, Program
from navicache_cli.commands.listing import models_command, presets_command
from navicache_cli.commands.memory import memory_command
from navicache_cli.commands.metrics import metrics_command
from navicache_cli.commands.plot import plot_command
from navicache_cli.commands.replay import replay_command
from navicache_cli.commands.schedule import schedule_command
from navicache_cli.commands.setup import setup_command
from navicache_cli.errors import InterruptedRunError, NavicacheError, ReaderGoneError, known_error
from navicache_cli.interruption import exit_code_of, stop_on_signals
from navicache_cli.threads import let_waiting_threads_sleep

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
evaluation = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Score videos: VBench, and PSNR, SSIM and LPIPS of whole folders.",
)
evaluation.command("vbench")(eval_vbench_command)
evaluation.command("common")(eval_common_command)
for _name, _command in {
    "generate": generate_command,
    "batch": batch_command,
    "compare": compare_command,
    "batch-report": batch_report_command,
    "schedule": schedule_command,
    "calibrate": calibrate_command,
    "presets": presets_command,
    "models": models_command,
    "setup": setup_command,
    "doctor": doctor_command,
    "memory": memory_command,
    "metrics": metrics_command,
    "plot": plot_command,
    "replay": replay_command,
    "export-tiny": export_tiny_command,
}.items():
    app.command(_name)(_command)
app.add_typer(evaluation, name="eval")
_debug = False


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
    except OtherPython as found:
        return found.start(sys.argv[1:])
    except NavicacheError as error:
        return _fail(error)
    except KeyboardInterrupt as stop:  # While an error was shown, say; then that is cut short.
        return exit_code_of(stop)
    except Exception as error:
        return _fail(known_error(error))


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
