"""`navicache setup --venv`: a Python environment for one family, by uv where it is there, else by venv."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backends.official.environments import READY, environment_version, managed_environment, python_in
from navicache_cli import __version__
from navicache_cli.errors import BackendError, OutputError
from navicache_cli.files import write_atomically
from navicache_cli.processes import run_program
from navicache_cli.setup import Step
from navicache_cli.setup.packages import keep_torch

if TYPE_CHECKING:
    from backends.official.installation import Installation


def environment_step(installation: Installation) -> Step:
    """Make the environment of a family with this navicache and this torch in it.

    Setup then goes on in it, by its own Python, with the packages of the family.
    """
    model = installation.official.name
    place = managed_environment(model)
    commands = _commands(place)

    def run() -> None:
        (place / READY).unlink(missing_ok=True)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {place.parent}: {error.strerror}",
                "set XDG_CACHE_HOME to a folder you can write",
            ) from None
        for command in commands:
            if code := _run(command):
                raise BackendError(
                    f"cannot make the environment {place}: {Path(command[0]).name} ended with {code} "
                    "(its own words are above)",
                    "install uv, or the package that has Python's venv (apt install python3-venv), and check "
                    "the network",
                )
        write_atomically(place / READY, f"{__version__}\n")

    done = f"at {place}" if environment_version(model) == __version__ else ""
    return Step(f"Python environment of {model}", done, commands, run)


def _run(command: list[str]) -> int:
    try:
        return run_program(command, stdout=sys.stderr.fileno()).returncode
    except OSError as error:
        raise BackendError(
            f"cannot run {command[0]}: {error.strerror}", "install uv, or the package that has Python's venv"
        ) from None


def _commands(place: Path) -> list[list[str]]:
    python = str(python_in(place))
    wanted = [*keep_torch(["torchvision"]), *_this_navicache()]
    if uv := shutil.which("uv"):
        # As pip does, it takes the best version of all indexes. `--seed` brings pip, for what comes later.
        install = [uv, "pip", "install", "--python", python, "--index-strategy", "unsafe-best-match"]
        return [
            [uv, "venv", "--seed", "--allow-existing", "--python", sys.executable, str(place)],
            [*install, *wanted],
        ]
    return [[sys.executable, "-m", "venv", str(place)], [python, "-m", "pip", "install", *wanted]]


def _this_navicache() -> list[str]:
    """What makes pip install the navicache that runs: from where this one is from."""
    source = Path(__file__).parents[2]
    if (source / "pyproject.toml").is_file():  # run from its source
        return ["-e", str(source)]
    found = importlib.metadata.distribution("navicache")
    if origin := found.read_text("direct_url.json"):
        return [f"navicache @ {json.loads(origin)['url']}"]
    return [f"navicache=={found.version}"]
