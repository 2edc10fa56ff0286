"""Files of prompts, one a line."""

from __future__ import annotations

from pathlib import Path

from navicache_cli.errors import UsageError
from navicache_cli.reading import expand_user, read_utf8


def read_prompts(path: Path) -> list[str]:
    """Read a prompt from each line that is not blank; a repeated one counts once.

    Raises:
        UsageError: the file is missing, not UTF-8 text, or has no prompt.
    """
    try:
        lines = read_utf8(expand_user(path)).splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the prompts {path}: {error.strerror}", "check the path") from None
    prompts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not prompts:
        raise UsageError(f"expected one prompt per line in {path}, found none", "write one prompt into it")
    return prompts
