"""The options of `navicache setup`."""

from __future__ import annotations

from typing import Annotated

import typer


def setup_command(
    family: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="wan, wan2.2, hunyuan, opensora, or videosys (Open-Sora in VideoSys)."
        ),
    ],
    repo_url: Annotated[
        str, typer.Option(metavar="URL", help="Clone from this address, such as a mirror or a local path.")
    ] = "",
    commit: Annotated[
        str, typer.Option(metavar="HASH", help="Commit to check out.  [default: the tested one]")
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="NAME", help="Also download these weights, such as Wan2.1-T2V-1.3B.")
    ] = "",
    revision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OWNER/NAME=]HASH",
            help="Commit of the weights' repository; may be repeated.  "
            "[default: that of an earlier download, or the newest]",
        ),
    ] = None,
    venv: Annotated[
        bool,
        typer.Option("--venv", help="Into a Python environment of its own, which generate then uses."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands and change nothing.")
    ] = False,
) -> None:
    """Install a model's official code, its Python packages and its weights.

    Leaves what is already there as it is, and resumes a download that was cut off.
    """
    from navicache_cli.setup.setup import setup

    setup(family, repo_url, commit, weights, dry_run, revision or [], venv)
