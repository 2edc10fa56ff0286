"""VBench's list of prompts: which of them the dimensions need, and the videos that belong to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from navicache_cli.batch.rows import read_vbench_list
from navicache_cli.errors import OutputError, UsageError

NAME = "{prompt}-{n}.mp4"  # what VBench looks for, as a template of `navicache batch`
MOST_PER_PROMPT = 5  # that VBench looks for: n is 0 to 4

Entry = dict[str, Any]  # `prompt_en`, `dimension` (their names), and for some dimensions `auxiliary_info`


def read_entries(path: Path, dimensions: Sequence[str]) -> list[Entry]:
    """Read VBench's list, and return the entries of these dimensions.

    Raises:
        UsageError: it is not VBench's list, or has no prompt for one of the dimensions.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(
            f"expected VBench's list of prompts (.json); found {path.name[-60:]!r}",
            "--prompts VBench_full_info.json, or none for the one in the package vbench",
        )
    entries = read_vbench_list(path)
    for dimension in dimensions:
        if not any(dimension in entry["dimension"] for entry in entries):
            raise UsageError(f"expected prompts for {dimension} in {path}, found none", "drop the dimension")
    return [entry for entry in entries if any(one in entry["dimension"] for one in dimensions)]


def video_names(entries: Sequence[Entry], per_prompt: int) -> dict[str, str]:
    """Return the names of the videos, each with its prompt; one listed twice is there once."""
    return {
        NAME.format(prompt=entry["prompt_en"], n=n): entry["prompt_en"]
        for entry in entries
        for n in range(per_prompt)
    }


def check_videos(folder: Path, names: Collection[str]) -> None:
    """Check that a folder has these videos and no file that VBench would stumble over.

    Raises:
        UsageError: a video is missing or no regular file, or VBench would take another file's suffix for that
            of the videos.
        OutputError: the folder cannot be read.
    """
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise OutputError(
            f"cannot read the folder {folder}: {error.strerror}", "check the path and its permissions"
        ) from None
    missing = [name for name in names if name not in there]
    if missing:
        raise UsageError(
            f"expected {len(names)} videos in {folder}; {len(missing)} are missing, the first is "
            f"{missing[0]!r}",
            "without --videos they are made; --seeds 1 needs one of each prompt, --dimensions fewer prompts",
        )
    odd = [name for name in names if not (folder / name).is_file()]
    if odd:
        raise UsageError(
            f"expected a video; {folder / odd[0]} is no regular file", "make it again, or drop it"
        )
    others = sorted(name for name in there if not name.endswith(".mp4"))
    if others:
        raise UsageError(
            f"expected only .mp4 files in {folder}, as VBench takes any file's suffix for that of all; "
            f"found {others[0]!r}",
            "move it elsewhere",
        )
