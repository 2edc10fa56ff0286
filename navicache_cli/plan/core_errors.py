"""Errors of the caching core, which speaks of arguments, told in the command line's options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import SETTINGS

# Arguments with a flag of their own. The first three are also words: only before a value are they flags.
_FLAGS = re.compile(r"(?<!-)\b(?:(?:threshold|speedup|compute)=|(?:align_steps|max_error)\b=?)")
_SET = re.compile(rf"(?<!--set )\b({'|'.join(SETTINGS)})=")


@contextmanager
def told_in_options(source: str = "") -> Iterator[None]:
    """Within this, errors of the core name options.

    Args:
        source: where the value that is checked is from.
    """
    try:
        yield
    except UsageError as error:
        told = f" ({source})" if source else ""
        raise UsageError(
            error.message.replace("max_error", "max-error") + told, in_options(error.hint)
        ) from None


def in_options(hint: str) -> str:
    """Write `compute=0.5` as `--compute 0.5`, and `max_skips=4` as `--set max_skips=4`."""
    hint = _FLAGS.sub(lambda found: "--" + found[0].replace("_", "-").replace("=", " "), hint)
    return _SET.sub(r"--set \1=", hint)
