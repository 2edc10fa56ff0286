"""The options of `navicache eval vbench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import OUTPUT, Text, opt, takes_options
from navicache_cli.plan.option import Use

SCORED = "What to score"


@takes_options(leaving_out=Use.SINGLE | Use.PARALLEL, names=("prompt",))
def eval_vbench_command(
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
    dry_run: Annotated[
        bool, opt(OUTPUT, "Show what would be made and scored, and stop.", None, "--dry-run")
    ] = False,
    as_json: Annotated[bool, opt(OUTPUT, "Print only vbench.json.", None, "--json")] = False,
    **options: Any,
) -> None:
    """Score a setting with VBench: each dimension, and the quality, semantic and total scores.

    Generates the videos for VBench's prompts, or uses those in --videos, and runs the package vbench for each
    dimension. You can stop it at any time: the same command resumes. Exit code 3 means that a dimension has
    no score.
    """
    from navicache_cli.evaluation.vbench import Request, eval_vbench

    assignments, config = options.pop("assignments") or [], options.pop("config")
    enter_environment_of(options, assignments, config)
    request = Request(dimensions, prompts, videos, seeds, scores, vbench_python, page, as_json, dry_run)
    eval_vbench(request, {**options, "output_dir": output_dir}, assignments, config)
