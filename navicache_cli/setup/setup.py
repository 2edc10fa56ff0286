"""`navicache setup`: the official code, its Python packages and weights, each step shown as a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from navicache_cli import terminal
from navicache_cli.errors import InterruptedRunError, UsageError
from navicache_cli.plan.presets import unknown
from navicache_cli.setup import Step

if TYPE_CHECKING:
    from backends.official.installation import Weights


def setup(
    family: str,
    repo_url: str,
    commit: str,
    weights: str,
    dry_run: bool,
    revisions: Sequence[str] = (),
    venv: bool = False,
) -> None:
    """Bring what a family needs to this machine; what is there already stays as it is.

    It all happens in the family's environment, where there is one.

    Args:
        family: a name of `backends.official.installation.installations`.
        repo_url: clone from there, "" for the official address.
        commit: check that out, "" for the tested one.
        weights: also download these, or "".
        dry_run: only print the commands.
        revisions: of the weights' repositories, `HASH` or `OWNER/NAME=HASH`.
        venv: make that environment, if there is none.

    Raises:
        OtherPython: the environment is another Python than this one.
        UsageError: an unknown family or weights, or a commit or revision that is none.
        BackendError: git or pip is not there or failed, or the checkout cannot be changed.
        WeightsError: the download failed or left something out.
        OutputError: a folder cannot be written, or the disk is too small.
        InterruptedRunError: Ctrl-C.
    """
    steps = _steps(family, repo_url, commit, weights, revisions)
    given = {"--repo-url": [repo_url], "--commit": [commit], "--weights": [weights], "--revision": revisions}
    again = [
        family,
        *(word for flag, values in given.items() for one in values if one for word in (flag, one)),
    ]
    if not _go_apart(family, venv, dry_run, again):
        return
    if dry_run:
        for step in steps:
            _show(step)
        return
    try:
        for step in steps:
            _do(step)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "stopped before everything was installed; what was finished stays",
            "run it again to resume",
        ) from None
    if all(step.done for step in steps):
        terminal.stdout.print("everything was installed already; nothing was changed")


def _go_apart(family: str, venv: bool, dry_run: bool, again: Sequence[str]) -> bool:
    """Go on in the family's environment, made first if that is asked for; False where that was only shown.

    Args:
        family, venv, dry_run: see `setup`.
        again: what `setup` was asked for, but for these.

    Raises:
        OtherPython: to go on there.
    """
    from backends.official.environments import (
        enter_environment,
        inside_environment,
        managed_environment,
        program_in,
    )
    from backends.official.installation import installations
    from navicache_cli.setup.environment import environment_step

    installation = installations()[family]
    model = installation.official.name
    if venv and not inside_environment(model):
        step = environment_step(installation)
        if dry_run:
            _show(step)
        if dry_run and not step.done:
            program = program_in(managed_environment(model))
            terminal.stdout.say("# all else in it")
            terminal.stdout.say(shlex.join([str(program), "setup", *again]))
            return False
        if not dry_run:
            _do(step)
    enter_environment(model)
    return True


def _steps(family: str, repo_url: str, commit: str, weights: str, revisions: Sequence[str]) -> list[Step]:
    """Look at the machine and say what is to be done."""
    from backends.official.installation import installations
    from backends.registry import families
    from navicache_cli.setup.checkout import checkout_step
    from navicache_cli.setup.packages import packages_step
    from navicache_cli.setup.weights import weights_steps

    known = installations()
    if family not in known:
        offered = next((one for one in families() if one.name == family), None)
        if offered and not offered.own:
            raise UsageError(
                f"setup expects one of {', '.join(known)}; {family!r} is of the package {offered.package}, "
                "which brings all it needs",
                f"navicache doctor --model {family}",
            )
        raise UsageError(unknown("model to set up", family, known), "tiny needs no setup")
    installation = known[family]
    tested = installation.official.tested_commit
    hashed = commit.lower()
    if commit and not re.fullmatch(r"[0-9a-f]{7,40}", hashed):
        raise UsageError(
            f"--commit expects a hash of 7 to 40 hexadecimal digits, found {commit[:60]!r}",
            f"drop --commit for the tested one, {tested[:7]}",
        )
    chosen = installation.weights_called(weights)
    if weights and chosen is None:
        names = [one.name for one in installation.weights]
        raise UsageError(unknown(f"weights of {family}", weights, names), f"--weights {names[0]}")
    if revisions and chosen is None:
        raise UsageError(
            "--revision expects --weights too, found none", f"--weights {installation.weights[0].name}"
        )
    pins = _pins(chosen, revisions) if chosen else {}
    steps = [
        # The tested commit by its full hash, however few digits of it are given: others may begin so too.
        checkout_step(installation, repo_url, tested if tested.startswith(hashed) else hashed),
        packages_step(family, installation, bool(weights)),
    ]
    return steps + (weights_steps(family, installation, chosen, pins) if chosen else [])


def _pins(weights: Weights, revisions: Sequence[str]) -> dict[str, str]:
    """Read the revisions asked for: full hash by repository.

    Raises:
        UsageError: another form, another repository, or which of several is not said.
    """
    repositories = [download.repository for download in weights.downloads]
    pins = {}
    for text in revisions:
        name, _, revision = text.rpartition("=")
        if not re.fullmatch(r"[0-9a-f]{40}", revision.lower()):
            raise UsageError(
                f"--revision expects all 40 hexadecimal digits of a commit's hash, found {revision[:60]!r}",
                "drop --revision for the newest one",
            )
        if name not in repositories and (name or len(repositories) > 1):
            raise UsageError(
                unknown(f"repository of {weights.name}", name, repositories),
                f"--revision {repositories[0]}={revision.lower()}",
            )
        pins[name or repositories[0]] = revision.lower()
    return pins


def _show(step: Step) -> None:
    """Print a step as lines for a shell; what needs no doing is a comment."""
    terminal.stdout.say(f"# {step.title}" + (f": {step.done}, nothing to do" if step.done else ""))
    if not step.done:
        for command in step.commands:
            terminal.stdout.say(shlex.join(command))


def _do(step: Step) -> None:
    """Do a step, unless it is done, and say so."""
    if not step.done:
        terminal.stderr.say((step.title, "bold"))
        step.run()
    told = f"{step.title}: {step.done}" if step.done else step.title
    terminal.stdout.say(("ok ", "green"), told)
