"""The Python environments that `navicache setup --venv` makes, one a family, and how they are entered.

The families want versions of the same packages that exclude each other, `transformers` first of all. A
command that needs a family's packages starts itself again in the Python of its environment, if there is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from backends.official.repositories import managed_path
from navicache_cli import __version__

READY = "navicache-ready"  # a file in an environment that is whole; it holds the version of navicache
# Set for the program that was started in an environment: the version of the one that started it.
STARTED_BY = "NAVICACHE_STARTED_BY"


class OtherPython(Exception):  # noqa: N818 - no error: the program goes on in another process
    """The command belongs into another Python; the program ends here and starts there.

    Args:
        program: navicache in the environment of that Python.
    """

    def __init__(self, program: Path) -> None:
        super().__init__(program)
        self.program = program

    def start(self, arguments: Sequence[str]) -> int:
        """Run the program there, with the same arguments; where the system can, in the place of this one."""
        # Not by `python -m`, which would import what lies in the current folder: an official checkout, say.
        command = [str(self.program), *arguments]
        environment = {**os.environ, STARTED_BY: __version__}
        if os.name == "posix":
            sys.stdout.flush()
            sys.stderr.flush()
            os.execve(self.program, command, environment)
        return subprocess.run(command, env=environment, check=False).returncode


def managed_environment(model: str) -> Path:
    """Return where the environment of a family is, or would be."""
    return managed_path(model).parents[1] / "environments" / model


def any_environment() -> bool:
    """Whether there is an environment of any family."""
    return managed_environment("any").parent.is_dir()


def python_in(environment: Path) -> Path:
    """Return the path of an environment's Python."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def program_in(environment: Path) -> Path:
    """Return the path of navicache in an environment."""
    return python_in(environment).with_name("navicache.exe" if os.name == "nt" else "navicache")


def environment_version(model: str) -> str:
    """Return the version of navicache in a family's environment; "" where there is no whole environment."""
    place = managed_environment(model)
    try:
        return (place / READY).read_text("utf-8").strip() if program_in(place).is_file() else ""
    except (OSError, UnicodeError):
        return ""


def environment_program(model: str) -> Path | None:
    """Return navicache in a family's environment; None where there is none."""
    return program_in(managed_environment(model)) if environment_version(model) else None


def inside_environment(model: str) -> bool:
    """Whether this process runs in the environment of a family."""
    return environment_program(model) is not None and (
        STARTED_BY in os.environ or Path(sys.prefix).resolve() == managed_environment(model).resolve()
    )


def enter_environment(model: str) -> None:
    """Go on in the environment of a family, where there is one.

    Raises:
        OtherPython: there is one, and this is not it.
    """
    program = environment_program(model)
    if program is not None and not inside_environment(model):
        raise OtherPython(program)


def environment_notes(model: str) -> list[str]:
    """Say which environment this process runs in, if it is that of a family, and whether it is outdated."""
    if not inside_environment(model):
        return []
    notes = [f"Python packages of the environment {managed_environment(model)}"]
    caller = os.environ.get(STARTED_BY, __version__)
    if caller != __version__:
        notes.append(f"it has navicache {__version__}, not {caller} (navicache setup {model} --venv)")
    return notes
