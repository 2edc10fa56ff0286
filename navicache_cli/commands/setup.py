"""`navicache setup`: the official code, its Python packages and weights, each step shown as a command."""

from __future__ import annotations

import re
import shlex

from .. import terminal
from ..errors import InterruptedRunError, UsageError
from ..presets import unknown
from ..steps import Step


def setup(family: str, repo_url: str, commit: str, weights: str, dry_run: bool) -> None:
    """Bring what a family needs to this machine; what is there already stays as it is.

    Args:
        family: a name of `backends.installation.installations`.
        repo_url: clone from there, "" for the official address.
        commit: check that out, "" for the tested one.
        weights: also download these, or "".
        dry_run: only print the commands.

    Raises:
        UsageError: an unknown family or weights, or a commit that is none.
        BackendError: git or pip is not there or failed, or the checkout cannot be changed.
        WeightsError: the download failed or left something out.
        OutputError: a folder cannot be written, or the disk is too small.
        InterruptedRunError: Ctrl-C.
    """
    steps = _steps(family, repo_url, commit, weights)
    if dry_run:
        for step in steps:
            _show(step)
        return
    try:
        for step in steps:
            _do(step)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "stopped before everything was there; what was finished stays",
            "run it again: it goes on where it stopped",
        ) from None
    if all(step.done for step in steps):
        terminal.stdout.print("everything was there already; nothing was changed")


def _steps(family: str, repo_url: str, commit: str, weights: str) -> list[Step]:
    """Look at the machine and say what is to be done."""
    from backends.installation import installations

    from ..steps.checkout import checkout_step
    from ..steps.packages import packages_step
    from ..steps.weights import weights_steps

    known = installations()
    if family not in known:
        raise UsageError(unknown("model to set up", family, known), "tiny needs no setup")
    installation = known[family]
    tested = installation.official.tested_commit
    if commit and not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise UsageError(
            f"--commit expects a hash of 7 to 40 hexadecimal digits, found {commit[:60]!r}",
            f"drop --commit for the tested one, {tested[:7]}",
        )
    chosen = installation.weights_called(weights)
    if weights and chosen is None:
        names = [one.name for one in installation.weights]
        raise UsageError(unknown(f"weights of {family}", weights, names), f"--weights {names[0]}")
    steps = [
        checkout_step(installation, repo_url, commit or tested),
        packages_step(installation, bool(weights)),
    ]
    return steps + (weights_steps(family, installation, chosen) if chosen else [])


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
