"""Names of a batch's videos: a template with fields, and what makes a name safe."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Mapping

from navicache_cli.errors import UsageError
from navicache_cli.plan.presets import unknown

FIELDS = ("row", "prompt", "slug", "n", "seed", "model", "task", "mode", "method")
MAX_NAME_BYTES = 230  # file systems take 255; the rest is for the hidden names files have while being written
_FIELD = re.compile(r"\{([^{}]*)\}")
# Windows takes fewer characters than others.
_FORBIDDEN = frozenset('/\\<>:"|?*' if os.name == "nt" else "/\\")


def check_template(template: str) -> None:
    """Check a template of names before any is made from it.

    Raises:
        UsageError: an unknown field, a stray brace, another suffix than .mp4.
    """
    for field in _FIELD.findall(template):
        if field not in FIELDS:
            raise UsageError(f"--name: {unknown('field', field, FIELDS)}", "--name '{prompt}-{n}.mp4'")
    if set("{}") & set(_FIELD.sub("", template)):
        raise UsageError(
            f"--name expects braces in pairs around a field, found {template[:60]!r}",
            "--name '{prompt}-{n}.mp4'",
        )
    check_path(_FIELD.sub("x", template), "--name")


def make_name(template: str, values: Mapping[str, object], where: str) -> str:
    """Fill a checked template, as `check_path` asks for it.

    Args:
        template: see FIELDS; not Python's own format, which can look into objects.
        values: of all fields.
        where: the row, for errors.

    Raises:
        UsageError: the prompt cannot be a part of a file name.
    """
    prompt = str(values["prompt"])
    bad = sorted({char for char in prompt if char in _FORBIDDEN or unicodedata.category(char) == "Cc"})
    if "{prompt}" in template and bad:
        raise UsageError(
            f"{where}: expected a prompt that can stand in a file name, found {bad[0]!r} in {prompt[:60]!r}",
            "use {slug} instead of {prompt}, or reword it",
        )
    name = _FIELD.sub(lambda match: str(values[match[1]]), template)
    check_path(name, where)
    return name


def check_path(name: str, where: str) -> None:
    """Check that a name stays below the folder of videos and can be a file's.

    Args:
        name: of a video, with / between folders.
        where: for errors.

    Raises:
        UsageError: an absolute path, one with `..`, hidden parts or control characters, a long one, another
            suffix than .mp4.
    """
    parts = name.split("/")
    if not name.endswith(".mp4"):
        raise UsageError(f"{where}: a video's name expects to end in .mp4, found {name[-60:]!r}", _HINT)
    unprintable = [char for char in name if unicodedata.category(char) in ("Cc", "Cs")]
    if unprintable:
        raise UsageError(
            f"{where}: a video's name expects characters that can be printed, found {unprintable[0]!r} in "
            f"{name[:60]!r}",
            "remove it",
        )
    if "\\" in name or any(not part or part.startswith(".") for part in parts):
        raise UsageError(
            f"{where}: a video's name expects a path below the folder of videos without hidden parts, "
            f"found {name[:60]!r}",
            _HINT,
        )
    longest = max(len(os.fsencode(part)) for part in parts)
    if longest > MAX_NAME_BYTES:
        raise UsageError(
            f"{where}: expected a name of at most {MAX_NAME_BYTES} bytes, found {longest}: {name[:60]!r}…",
            "use {slug} instead of {prompt} in --name",
        )


def same_file(name: str) -> str:
    """Return what two names have in common that mean one file here."""
    composed = unicodedata.normalize("NFC", name)
    return composed.casefold() if sys.platform in ("darwin", "win32") else composed


_HINT = "--name '{prompt}-{n}.mp4', or '{mode}/{row}-{slug}.mp4' for folders"
