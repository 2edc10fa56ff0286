"""`navicache eval vbench`: VBench's scores of a setting; run again, it resumes."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from navicache_cli import terminal
from navicache_cli.batch.batch import Choices, batch
from navicache_cli.batch.folder import Folder
from navicache_cli.errors import BackendError, InterruptedRunError, UsageError
from navicache_cli.evaluation.dimensions import choose_dimensions
from navicache_cli.evaluation.documents import Evaluation, vbench_document
from navicache_cli.evaluation.package import VBench, Verdict, find_vbench, score_dimension
from navicache_cli.evaluation.page import vbench_page
from navicache_cli.evaluation.prompts import (
    MOST_PER_PROMPT,
    NAME,
    Entry,
    check_videos,
    read_entries,
    video_names,
)
from navicache_cli.evaluation.store import FOLDER_HINT, dimension_key, find_verdict, keep_verdict
from navicache_cli.evaluation.table import scores_table
from navicache_cli.files import (
    check_new,
    check_replaceable,
    prepare_folder,
    sha256_of,
    write_atomically,
    write_together,
)
from navicache_cli.locks import FolderLock
from navicache_cli.plan.layers import Layer, option_layers
from navicache_cli.plan.plan import Plan, plan_document, resolve
from navicache_cli.reading import expand_user
from navicache_cli.report.documents import document_text
from navicache_cli.report.report import PlanEntry

DEFAULT_FOLDER = "vbench"


@dataclass(frozen=True)
class Request:
    """What is asked for beyond the options of a plan; see `navicache eval vbench --help`."""

    dimensions: str | None = None
    prompts: Path | None = None
    videos: Path | None = None
    seeds: int = MOST_PER_PROMPT
    scores: Path | None = None
    python: str | None = None
    page: bool = True
    as_json: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class _Task:
    """The request, read and checked.

    Attributes:
        vbench: the package.
        given: VBench's list of prompts.
        dimensions: to score.
        entries: of VBench's list, for these dimensions; written to `prompts`.
        per_prompt: videos of each prompt.
        root: of the batch that makes them.
        videos: the folder they are in.
        scores: where results go.
    """

    vbench: VBench
    given: Path
    dimensions: list[str]
    entries: list[Entry]
    per_prompt: int
    root: Path
    videos: Path
    scores: Path

    @property
    def parts(self) -> Path:
        """Folder of finished dimensions."""
        return self.scores / "scores"

    def part(self, dimension: str) -> Path:
        """Where a finished dimension is."""
        return self.parts / f"{dimension}.json"

    @property
    def prompts(self) -> Path:
        """The list of prompts as VBench has it, of these dimensions."""
        return self.parts / "navicache-prompts.json"

    def names(self, dimension: str | None = None) -> dict[str, str]:
        """Return names and prompts of the videos, of one dimension or of all."""
        wanted = [entry for entry in self.entries if dimension is None or dimension in entry["dimension"]]
        return video_names(wanted, self.per_prompt)


def eval_vbench(
    request: Request, flags: dict[str, Any], assignments: list[str], config: Path | None
) -> Evaluation | None:
    """Make the videos that are not there, score what is not scored, write vbench.json and the page.

    A dry run only shows what there is to do, and returns None.

    Args:
        request: what to score.
        flags, assignments, config: options of the videos; see `generate.option_layers`.

    Raises:
        UsageError: an unknown dimension, prompts or videos missing; nothing was started.
        BackendError: the package vbench is not there, or could not score a dimension; the others are scored.
        BatchError: a video could not be made.
        InterruptedRunError: Ctrl-C; what is finished is kept.
        NavicacheError: as `batch`.
    """
    if request.videos is not None:
        _check_nothing_to_make(flags, assignments, config)
    layers = option_layers(flags, assignments, config, dict(os.environ))
    plan = resolve(layers)
    task = _read(request, plan)
    if request.dry_run:
        _show_plan(task, layers, request)
        return None
    path, page_path = task.scores / "vbench.json", task.scores / "index.html"
    written = [path, *([page_path] if request.page else [])]
    for one in written:
        check_replaceable(one)
    for folder in (task.scores, task.parts):
        prepare_folder(folder, FOLDER_HINT)
    check_new(task.prompts, True, [task.given])
    with FolderLock(task.parts, "evaluation", "wait for it, or choose another --scores") as lock:
        write_atomically(task.prompts, json.dumps(task.entries, indent=1) + "\n")
        if request.videos is None:
            _make(task, layers)
        names = task.names()
        check_videos(task.videos, names)
        try:
            verdicts, errors = _score(task, lock)
            document = vbench_document(
                verdicts,
                errors,
                names,
                Path(os.path.relpath(task.videos, task.scores)).as_posix(),
                task.vbench.version,
                None if request.videos else _plan_of_all(plan),
                _notes(task, errors),
            )
            texts = {path: document_text(document)}
            if request.page:
                texts[page_path] = vbench_page(document, task.videos, task.scores)
            lock.check()
            write_together(texts)
        except KeyboardInterrupt:
            kept = any(task.part(dimension).exists() for dimension in task.dimensions)
            raise InterruptedRunError(
                f"stopped; scored dimensions are kept in {task.parts}"
                if kept
                else "stopped; no dimension is scored yet",
                "run the same command again to resume",
            ) from None
    _show(document, written, request.as_json)
    if errors:
        first = next(iter(errors.values()))
        raise BackendError(
            f"{len(errors)} of {len(task.dimensions)} dimensions have no score; {first}",
            f"see the logs in {_work(task)}; the same command tries them again and keeps the rest",
        )
    return document


def _check_nothing_to_make(flags: dict[str, Any], assignments: list[str], config: Path | None) -> None:
    """Check that no options of videos are given where none are made."""
    given = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None]
    given = [flag for flag in given if flag != "--output-dir"]
    given += [flag for flag, value in (("--set", assignments), ("--config", config)) if value]
    if given:
        raise UsageError(
            f"--videos makes no videos and expects no options for them; found {', '.join(given)}",
            f"drop {given[0]}, or --videos",
        )


def _read(request: Request, plan: Plan) -> _Task:
    """Check everything that can be wrong before any work starts."""
    dimensions = choose_dimensions(request.dimensions)
    if not 1 <= request.seeds <= MOST_PER_PROMPT:
        raise UsageError(
            f"seeds expects 1 to {MOST_PER_PROMPT}, as VBench looks for no more; found {request.seeds}",
            f"--seeds {MOST_PER_PROMPT}",
        )
    vbench = find_vbench(request.python)
    given = vbench.prompts if request.prompts is None else expand_user(request.prompts)
    entries = read_entries(given, dimensions)
    chosen = DEFAULT_FOLDER if plan.provenance["output_dir"] == "default" else plan.output_dir
    root = expand_user(chosen)
    videos = Folder(root).videos if request.videos is None else expand_user(request.videos)
    scores = root if request.scores is None else expand_user(request.scores)
    task = _Task(vbench, given, dimensions, entries, request.seeds, root, videos, scores)
    if request.videos is not None:
        check_videos(videos, task.names())
    return task


def _show_plan(task: _Task, layers: Sequence[Layer], request: Request) -> None:
    """Show which videos `navicache batch` would make, and what would be scored."""
    _tell(
        f"{len(task.names())} videos in {task.videos} would be scored by vbench {task.vbench.version} in "
        + ", ".join(task.dimensions)
    )
    if request.videos is None:
        with TemporaryDirectory() as folder:
            prompts = Path(folder, task.prompts.name)
            prompts.write_text(json.dumps(task.entries), encoding="utf-8")
            batch(prompts, [*layers, _folder(task)], _choices(task), dry_run=True, as_json=request.as_json)


def _folder(task: _Task) -> Layer:
    return Layer("eval vbench", {"output_dir": str(task.root)})


def _choices(task: _Task) -> Choices:
    return Choices(NAME, task.per_prompt)


def _make(task: _Task, layers: Sequence[Layer]) -> None:
    """Make the videos that are not there, as `navicache batch` does."""
    with redirect_stdout(sys.stderr):  # standard output is for the scores
        batch(task.prompts, [*layers, _folder(task)], _choices(task))
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the model is gone; vbench, another process, needs the room


def _score(task: _Task, lock: FolderLock) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Find or take every dimension's score; the second result has the errors of those that failed."""
    verdicts: dict[str, Verdict] = {}
    errors: dict[str, str] = {}
    names = task.names()
    with terminal.stderr.status(f"looking at {len(names)} videos"):
        digests = {name: sha256_of(task.videos / name) for name in names}
    for number, dimension in enumerate(task.dimensions, 1):
        lock.check()
        path = task.part(dimension)
        own = list(task.names(dimension))
        key = dimension_key(dimension, task.vbench.version, task.entries, own, digests)
        known = find_verdict(path, key)
        if known is not None:
            verdicts[dimension] = known
            _tell(f"[{number}/{len(task.dimensions)}] {dimension}: kept from before")
            continue
        try:
            with terminal.stderr.status(f"scoring {dimension} ({number} of {len(task.dimensions)})"):
                verdict = score_dimension(task.vbench, dimension, task.prompts, task.videos, _work(task))
        except BackendError as error:
            errors[dimension] = error.message
            terminal.show_note(error.message)
            continue
        lock.check()
        keep_verdict(path, key, dimension, verdict)
        verdicts[dimension] = verdict
        _tell(f"[{number}/{len(task.dimensions)}] {dimension}: scored in {verdict.seconds:.1f} s")
    return verdicts, errors


def _work(task: _Task) -> Path:
    """Folder of what vbench itself writes, and of its logs."""
    return task.parts / "vbench"


def _tell(text: str) -> None:
    terminal.stderr.say(text)


def _plan_of_all(plan: Plan) -> dict[str, PlanEntry]:
    """Return the options that all videos have; the seed is that of the first of each prompt."""
    return {key: entry for key, entry in plan_document(plan).items() if key not in ("prompt", "output")}


def _notes(task: _Task, errors: dict[str, str]) -> list[str]:
    notes = [f"{dimension} has no score: {error}" for dimension, error in errors.items()]
    if task.per_prompt < MOST_PER_PROMPT:
        notes.append(
            f"{task.per_prompt} videos of each prompt; VBench's own figures are of {MOST_PER_PROMPT}"
        )
    return notes


def _show(document: Evaluation, written: Sequence[Path], as_json: bool) -> None:
    if as_json:
        print(document_text(document), end="")
        return
    terminal.stdout.print(scores_table(document))
    for path in written:
        terminal.show_path(path)
