"""The official repository at a commit, in the managed place.

A commit is named by its hash and nothing else: git would take a tag called like a shortened hash first.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backends.official.repositories import UNKNOWN, Official, git_environment, read_commit
from navicache_cli.errors import BackendError, OutputError
from navicache_cli.processes import run_program
from navicache_cli.setup import Step

if TYPE_CHECKING:
    from backends.official.installation import Installation

FULL_HASH = 40  # hexadecimal digits


def checkout_step(installation: Installation, url: str, commit: str) -> Step:
    """Clone the repository, or move the clone that is there to the commit.

    Args:
        installation: of the family.
        url: where to clone or fetch from, "" for the official address, or where the clone is from.
        commit: full or shortened hash, in lower case.
    """
    official, place = installation.official, installation.place
    if url and Path(url).exists():
        url = str(Path(url).resolve())  # git would take a relative path from inside the clone.
    title = f"{official.title} at commit {commit[:7]}"
    if place.exists():
        done = f"at {place}" if read_commit(place).startswith(commit) else ""
        commands = [_fetch_command(place, url), *_checkout_commands(place, commit)]
        return Step(title, done, commands, lambda: _move(official, place, url, commit))
    part = place.with_name(f".{place.name}.part")
    clone = _clone_command(part, url or official.url)
    commands = [clone, *_checkout_commands(part, commit), ["mv", str(part), str(place)]]
    return Step(title, "", commands, lambda: _clone(official, place, part, url or official.url, commit))


def _clone_command(part: Path, url: str) -> list[str]:
    # `--`: what follows is an address, whatever it looks like.
    return ["git", "clone", "--quiet", "--no-checkout", "--", url, str(part)]


def _fetch_command(place: Path, url: str, *wanted: str) -> list[str]:
    # `+`: a mirror's tag may have moved, or be another than that of where the clone is from.
    all_of_it = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    return ["git", "-C", str(place), "fetch", "--quiet", "--", url or "origin", *(wanted or all_of_it)]


def _checkout_commands(place: Path, commit: str) -> list[list[str]]:
    # `^{commit}`: not a branch of that name. Of a shortened hash the second line shows what it was taken for.
    detach = ["git", "-C", str(place), "checkout", "--quiet", "--detach", f"{commit}^{{commit}}"]
    return [detach, *([["git", "-C", str(place), "rev-parse", "HEAD"]] if len(commit) < FULL_HASH else [])]


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
        why = f"cannot get {official.title} at {commit[:7]} from {url}"
        _git(_clone_command(part, url), why)
        _check_out(official, part, "", commit, why)
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
    why = f"cannot bring {place} to commit {commit[:7]}"
    if not _commits(place, commit):
        _git(_fetch_command(place, url), why)
    _check_out(official, place, url, commit, why)


def _check_out(official: Official, place: Path, url: str, commit: str, why: str) -> None:
    """Check out a commit, and look that it is the one asked for.

    Raises:
        BackendError: there is none of that hash, several begin with it, it is of another repository, or git
            failed.
    """
    found = _commits(place, commit)
    if not found and len(commit) == FULL_HASH:  # On no branch: git hubs give it to who knows its hash.
        with suppress(BackendError):
            _git(_fetch_command(place, url, commit), why)
        found = _commits(place, commit)
    if not found:
        raise BackendError(
            f"{why}: expected a commit whose hash is or begins with {commit}, found none there",
            f"--commit {official.tested_commit}, or --repo-url {official.url}; or move {place} away",
        )
    if len(found) > 1:
        raise BackendError(
            f"{why}: expected one commit whose hash begins with {commit}, found {', '.join(found[:3])}",
            f"--commit {found[0]}",
        )
    if missing := _missing(official, place, found[0]):
        raise BackendError(
            f"expected {official.title} with {missing} at commit {found[0][:7]}, found a repository without; "
            "nothing was changed",
            f"--commit {official.tested_commit}, or --repo-url {official.url}",
        )
    _git(_checkout_commands(place, found[0])[0], why)
    if (head := read_commit(place)) != found[0]:
        raise BackendError(
            f"{why}: expected {found[0]} to be checked out, found {head}",
            f"move {place} away and run setup again",
        )


def _missing(official: Official, place: Path, commit: str) -> str:
    """Name the files that tell the repository and are not in a commit; "" when all are."""
    tree = ["git", "-C", str(place), "ls-tree", "-r", "--name-only", "-z", commit, "--", *official.files]
    there = _git(tree, f"cannot look into commit {commit[:7]}").split("\0")
    return ", ".join(name for name in official.files if name not in there)


def _commits(place: Path, commit: str) -> list[str]:
    """The full hashes in a clone that are or begin with a hash, of commits alone; names are not looked at."""
    objects = _git(
        ["git", "-C", str(place), "rev-parse", f"--disambiguate={commit}"], "cannot look up a hash"
    )
    kinds = ["git", "-C", str(place), "cat-file", "--batch-check=%(objectname) %(objecttype)"]
    told = _git(kinds, "cannot look up a hash", objects).splitlines()
    return [line.split()[0] for line in told if line.endswith(" commit")]


def _git(command: list[str], why: str, given: str | None = None) -> str:
    """Run git, with `given` on its standard input, and return what it printed.

    Raises:
        BackendError: git is not there, or failed; the message is `why` and git's own.
    """
    try:
        pipe = subprocess.PIPE
        done = run_program(command, given, env=_environment(), stdout=pipe, stderr=pipe, text=True)
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
    """Git's messages in English, and no questions."""
    return {**git_environment(), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
