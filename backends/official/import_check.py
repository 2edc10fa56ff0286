"""Imports a family's official code as `generate` does: `… -m backends.official.import_check FAMILY CHECKOUT`.

In a process of its own: what is imported stays, and a package that does not fit may end the process. Prints
what went wrong and what to type, in two lines, and exits with 1; prints nothing where all is well.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backends.official.installation import installations
from backends.official.official import quiet
from backends.official.repositories import UNKNOWN, Checkout
from navicache_cli.errors import NavicacheError, one_line


def main(family: str, checkout: str) -> int:
    """Import; return the exit code."""
    import_code = installations()[family].import_code
    if import_code is None:
        return 0
    try:
        with quiet():
            import_code(Checkout(Path(checkout), "doctor", UNKNOWN))
    except NavicacheError as error:
        print(one_line(error, 400), error.hint, sep="\n")
        return 1
    except Exception as error:
        print(f"{type(error).__name__}: {one_line(error, 400)}", f"navicache setup {family}", sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
