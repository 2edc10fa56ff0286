"""The official repository at a commit, in the managed place."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from backends.repositories import UNKNOWN, Official, read_commit

from ..errors import BackendError, OutputError
from ..processes import run_program
from . import Step

if TYPE_CHECKING:
    from backends.installation import Installation


def checkout_step(installation: Installation, url: str, commit: str) -> Step:
    """Clone the repository, or move the clone that is there to the commit.

    Args:
        installation: of the family.
        url: where to clone or fetch from, "" for the official address, or where the clone is from.
        commit: full or shortened hash.
    """
    official, place = installation.official, installation.place
    if url and Path(url).exists():
        url = str(Path(url).resolve())  # git would take a relative path from inside the clone.
    title = f"{official.title} at commit {commit[:7]}"
    if place.exists():
        done = f"at {place}" if read_commit(place).startswith(commit) else ""
        commands = _move_commands(place, url, commit)
        return Step(title, done, commands, lambda: _move(official, place, url, commit))
    part = place.with_name(f".{place.name}.part")
    commands = [*_clone_commands(part, url or official.url, commit), ["mv", str(part), str(place)]]
    return Step(title, "", commands, lambda: _clone(official, place, part, url or official.url, commit))


def _clone_commands(part: Path, url: str, commit: str) -> list[list[str]]:
    # `--`: what follows is an address, whatever it looks like.
    return [
        ["git", "clone", "--quiet", "--no-checkout", "--", url, str(part)],
        ["git", "-C", str(part), "checkout", "--quiet", "--detach", commit],
    ]


def _move_commands(place: Path, url: str, commit: str) -> list[list[str]]:
    branches = "+refs/heads/*:refs/remotes/origin/*"
    return [
        ["git", "-C", str(place), "fetch", "--quiet", "--tags", "--", url or "origin", branches],
        ["git", "-C", str(place), "checkout", "--quiet", "--detach", commit],
    ]


def _clone(official: Official, place: Path, part: Path, url: str, commit: str) -> None:
    """Clone beside the managed place and rename: there is a whole checkout or none.

    Raises:
        BackendError: git failed, or it is another repository.
        OutputError: the folder cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # Left by a run that was killed.
        part.mkdir()
    except OSError as error:
        raise OutputError(
            f"cannot write {place.parent}: {error.strerror}", "set XDG_CACHE_HOME to a folder you can write"
        ) from None
    try:
        for command in _clone_commands(part, url, commit):
            _git(command, f"cannot get {official.title} at {commit[:7]} from {url}")
        missing = [name for name in official.files if not (part / name).is_file()]
        if missing:
            raise BackendError(
                f"expected {official.title} with {', '.join(missing)} at {url}, found a repository without",
                f"--repo-url {official.url}",
            )
        part.rename(place)
    except OSError as error:
        raise OutputError(
            f"cannot move {part} to {place}: {error.strerror}", "run it again, one setup at a time"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(official: Official, place: Path, url: str, commit: str) -> None:
    """Check out another commit in a clone without local changes.

    Raises:
        BackendError: it is no clone of this repository, has local changes, or git failed.
    """
    other = [name for name in official.files if not (place / name).is_file()]
    if other or read_commit(place) == UNKNOWN:
        raise BackendError(
            f"expected a git checkout of {official.title} at {place}, found "
            + (f"a folder without {', '.join(other)}" if other else "no git checkout, or no git to look"),
            f"move {place} away and run setup again",
        )
    status = ["git", "-C", str(place), "status", "--porcelain", "--untracked-files=no"]
    changed = _git(status, f"cannot look into {place}").splitlines()
    if changed:
        raise BackendError(
            f"expected no local changes in {place} before changing its commit, found {len(changed)}: "
            f"{changed[0][3:]}{' …' if len(changed) > 1 else ''}",
            f"git -C {place} stash",
        )
    fetch, checkout = _move_commands(place, url, commit)
    why = f"cannot bring {place} to commit {commit[:7]}"
    if not _has(place, commit):
        _git(fetch, why)
    if not _has(place, commit):
        raise BackendError(
            f"{why}: neither the checkout nor where it was fetched from has that commit",
            f"--commit {official.tested_commit}, or --repo-url {official.url}; or move {place} away",
        )
    _git(checkout, why)


def _has(place: Path, commit: str) -> bool:
    command = ["git", "-C", str(place), "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, env=_environment(), capture_output=True, check=False).returncode == 0


def _git(command: list[str], why: str) -> str:
    """Run git and return what it printed.

    Raises:
        BackendError: git is not there, or failed; the message is `why` and git's own.
    """
    try:
        pipe = subprocess.PIPE
        done = run_program(command, env=_environment(), stdout=pipe, stderr=pipe, text=True)
    except OSError as error:
        raise BackendError(
            f"{why}: expected the program git, found none ({error.strerror})",
            "install git, for example: apt install git",
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        cause = next((line for line in lines if line.startswith(("fatal:", "error:"))), "no reason given")
        raise BackendError(
            f"{why}: git says {cause[:300]}", "check the address and the network: --repo-url, --commit"
        )
    return done.stdout


def _environment() -> dict[str, str]:
    """Git's messages in English, no questions, and no GIT_DIR of somebody else's repository."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
