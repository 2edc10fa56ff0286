"""From a plan to a video and its report, shown as `navicache generate` does."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError
from navicache_cli.plan.plan import Plan
from navicache_cli.reading import expand_user, read_stdin, read_utf8
from navicache_cli.run.names import files_read, result_places

if TYPE_CHECKING:
    from navicache_cli.report.report import Report


MOST_PROMPT = 1 << 20  # bytes; of characters a plan takes far fewer


def read_prompt(path: str) -> str:
    """Read a prompt from a file, or from standard input for "-"; line breaks become spaces.

    Raises:
        UsageError: the file is missing, empty, too large, or not UTF-8 text.
    """
    try:
        text = read_stdin(MOST_PROMPT) if path == "-" else read_utf8(expand_user(path), MOST_PROMPT)
    except OSError as error:
        raise UsageError(
            f"cannot read the prompt file {path}: {error.strerror}",
            "check the path; --prompt-file - reads standard input, or what another program writes",
        ) from None
    prompt = " ".join(text.split())
    if not prompt:
        raise UsageError(f"the prompt file {path} is empty", "write one prompt into it")
    return prompt


def generate(
    plan: Plan,
    *,
    inputs: Collection[Path] = (),
    quiet: bool = False,
    as_json: bool = False,
    dry_run: bool = False,
) -> Report | None:
    """Run a plan and show the result.

    Of several processes on one video only the first writes, shows and returns anything.

    Args:
        plan: what to generate.
        inputs: files the plan was read from, which no result may replace.
        quiet: print the video's path alone.
        as_json: print the report alone.
        dry_run: only show the plan.

    Raises:
        NavicacheError: see the error classes; nothing is left half-written.
    """
    from navicache_cli import terminal
    from navicache_cli.launch import leave_processes, read_launch
    from navicache_cli.plan.parallel import check_processes
    from navicache_cli.run.summary import show_summary

    launch = read_launch()
    if dry_run:
        if launch.first:
            _show_plan(plan, as_json)
        return None
    check_processes(plan, launch)

    from backends.registry import get_backend
    from navicache_cli.files import check_new
    from navicache_cli.run.generation import check_with_backend, run_plan, write_result
    from navicache_cli.run.runner import Clock

    clock = Clock()
    quiet = quiet or not launch.first
    backend = get_backend(plan.model)
    notes = check_with_backend(backend, plan)
    places = result_places(plan)
    first = next(places)
    if launch.first:
        read = [*inputs, *files_read(plan)]
        for path in first:
            check_new(path, plan.overwrite, read)
    if not quiet:
        for note in notes:
            terminal.show_note(note)
    # Rich output stops where a JSON document or silence was asked for.
    silent = quiet or as_json
    with nullcontext() if silent else terminal.stderr.status(f"loading {plan.model}"):
        pipeline = backend.load(plan)
    load_seconds = clock()
    runs = run_plan(pipeline, plan, partial(terminal.StepProgress, quiet=quiet))
    leave_processes()
    if not launch.first:
        return None
    report = write_result(plan, pipeline, chain([first], places), runs, load_seconds, notes)
    if as_json:
        from navicache_cli.report.documents import document_text

        print(document_text(report), end="")
    elif quiet:
        terminal.show_path(report.output.path)
    else:
        show_summary(report)
    return report


def _show_plan(plan: Plan, as_json: bool) -> None:
    from navicache_cli import terminal
    from navicache_cli.plan.memory import about_memory
    from navicache_cli.plan.plan import plan_document
    from navicache_cli.report.documents import json_text, plain
    from navicache_cli.run.summary import plan_table

    if as_json:
        print(json_text(plain(plan_document(plan))), end="")
    else:
        terminal.stdout.print(plan_table(plan))
        if memory := about_memory(plan):
            terminal.stdout.print(f"memory: {memory}", markup=False, highlight=False)
