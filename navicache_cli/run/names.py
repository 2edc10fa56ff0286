"""Where a generation's video and report go."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError
from navicache_cli.plan.options import BUILT_IN
from navicache_cli.plan.presets import OFF
from navicache_cli.plan.setting import in_video
from navicache_cli.reading import expand_user

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan

# What an automatic name says in words; whatever else was chosen shows as a digest.
_IN_WORDS = ("model", "prompt", "method", "mode", "speedup", "compute", "seed")


def slug(text: str, limit: int = 48) -> str:
    """Turn a prompt into the safe middle of a file name: lower case letters, digits and hyphens."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:limit].rstrip("-") or "video"


def result_places(plan: Plan) -> Iterator[tuple[Path, Path]]:
    """Yield where video and report may go: `--output`, or one free name after the other.

    An automatic name says model, prompt, the method if it is not the usual one, mode or budget, and seed; a
    digest of all other options that were chosen; and a number if it is taken.

    Raises:
        UsageError: `--output` does not end in .mp4.
    """
    if plan.output:
        path = expand_user(plan.output)
        if path.suffix.lower() != ".mp4":
            raise UsageError(
                f"output expects a file ending in .mp4, found {plan.output[-60:]!r}", "--output video.mp4"
            )
        yield path, path.with_suffix(".json")
        return
    folder = expand_user(plan.output_dir)
    method = "" if plan.method in (BUILT_IN["method"], OFF) else plan.method
    words = (plan.model, slug(plan.prompt), method, plan.pace, str(plan.seed), _digest(plan))
    stem = "-".join(word for word in words if word)
    for number in count(1):
        name = stem if number == 1 else f"{stem}-{number}"
        place = folder / f"{name}.mp4", folder / f"{name}.json"
        if plan.overwrite or not any(map(os.path.lexists, place)):
            yield place
        if plan.overwrite:
            return


def files_read(plan: Plan) -> list[Path]:
    """Return the files that a plan's generation reads, as far as the user named them."""
    named = [path for paths in plan.files().values() for path in paths if path]
    files = [expand_user(path) for path in named]
    return [*files, *(expand_user(plan.weights).glob("*.json") if plan.weights else ())]


def _digest(plan: Plan) -> str:
    """Return six digits of what was chosen and is not in words, or "" where all is the preset's."""
    chosen = {
        name: value
        for name, value in in_video(plan.values()).items()
        if name not in _IN_WORDS and not plan.provenance[name].startswith(("preset", "default"))
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:6] if chosen else ""
