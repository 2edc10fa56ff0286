"""The options of `navicache batch`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from navicache_cli.commands.environment import enter_environment_of
from navicache_cli.commands.flags import OUTPUT, Text, opt, takes_options
from navicache_cli.plan.option import Use

BATCH = "Batch"


@takes_options(leaving_out=Use.SINGLE | Use.PARALLEL)
def batch_command(
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
    from navicache_cli.batch.batch import Choices, batch
    from navicache_cli.plan.layers import option_layers

    config, assignments = options.pop("config"), options.pop("assignments") or []
    flags = {**options, "output_dir": output_dir}
    enter_environment_of(flags, assignments, config)
    layers = option_layers(flags, assignments, config, dict(os.environ))
    choices = Choices(name, seeds, methods, modes, shard, retry, max_failures, engine, workers, ray_address)
    batch(file, layers, choices, dry_run=dry_run, as_json=as_json, quiet=quiet)
