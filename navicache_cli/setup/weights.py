"""Weights from huggingface.co, in the managed place.

Each repository is downloaded at one commit, its revision, which is noted beside the files: a download that is
resumed takes the same files, whatever was changed there meanwhile.
"""

from __future__ import annotations

import errno
import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from navicache_cli import terminal
from navicache_cli.errors import OutputError, WeightsError
from navicache_cli.files import write_atomically
from navicache_cli.processes import run_program
from navicache_cli.report.documents import json_text
from navicache_cli.setup import Step
from navicache_cli.setup.packages import HUB

if TYPE_CHECKING:
    from backends.official.installation import Download, Installation, Weights

_CANNOT_WRITE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
}
_ELSEWHERE = "make room there, or set XDG_CACHE_HOME to a folder on another disk"


def weights_steps(
    family: str, installation: Installation, weights: Weights, pins: Mapping[str, str]
) -> list[Step]:
    """Download weights, and prepare them where the official instructions ask for that.

    Args:
        family: the name setup was called with.
        installation: of the family.
        weights: which.
        pins: revisions by repository. Of others it is the noted one, or the newest of a first download.
    """
    folder = weights.place
    noted = {one.repository: one for one in weights.downloaded([folder])}
    known = {**{name: one.revision for name, one in noted.items()}, **pins}
    at_pins = all(name in noted and noted[name].revision == pin for name, pin in pins.items())
    finished = at_pins and all(one.finished for one in noted.values()) and not _fault(weights)
    told = "".join(f", {name} at revision {one.revision[:7]}" for name, one in noted.items())
    done = f"complete at {folder}{told}" if finished else ""
    commands = [
        download_command(download, folder, known.get(download.repository, ""))
        for download in weights.downloads
    ]
    prepare = prepare_command(installation.place, weights, folder)

    def run() -> None:
        _check_space(folder, weights)
        again = f"navicache setup {family} --weights {weights.name}"
        for download in weights.downloads:
            _download(download, folder, known.get(download.repository, ""), again)
        if prepare and run_program(prepare, stdout=sys.stderr.fileno()).returncode:
            raise WeightsError(
                f"expected the official script to prepare {weights.name}, found that it failed "
                "(its own words are above; it needs an NVIDIA GPU)",
                shlex.join(prepare),
            )
        if fault := _fault(weights):
            raise WeightsError(fault.message, f"remove what is damaged in {folder} and run setup again")

    title = f"weights {weights.name}, {weights.gigabytes:g} GB"
    return [Step(title, done, [*commands, *([prepare] if prepare else [])], run)]


def _fault(weights: Weights) -> WeightsError | None:
    """Return what `generate` would say of the weights in the managed place, or None."""
    try:
        weights.locate(str(weights.place), None, False)
    except WeightsError as error:
        return error
    return None


def free_gigabytes(folder: Path) -> float:
    """Return the free space of the disk that a folder, there or not, is or would be on, in 10^9 bytes."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free / 1e9


def gigabytes_to_come(folder: Path, weights: Weights) -> float:
    """Return how much of the weights is not in the folder yet, in 10^9 bytes."""
    return max(0.0, weights.gigabytes - weights.size_in(folder))


def _check_space(folder: Path, weights: Weights) -> None:
    """Check that the disk has room for what is still to come.

    Raises:
        OutputError: it has not.
    """
    free, needed = free_gigabytes(folder), gigabytes_to_come(folder, weights)
    if free < needed:
        raise OutputError(
            f"expected {needed:.0f} GB of free disk at {folder} for the weights {weights.name}, "
            f"found {free:.1f} GB",
            _ELSEWHERE,
        )


def download_command(download: Download, folder: Path, revision: str) -> list[str]:
    """The same download by hand; without a revision, of the newest one."""
    place = str(folder / download.folder)
    at = ["--revision", revision] if revision else []
    only = [word for pattern in download.only for word in ("--include", pattern)]
    return ["hf", "download", download.repository, *at, "--local-dir", place, *only]


def prepare_command(checkout: Path, weights: Weights, folder: Path) -> list[str]:
    """The official script that prepares weights in a folder; empty where there is none."""
    if not weights.prepare:
        return []
    script, *arguments = weights.prepare
    words = (argument.format(weights=folder) for argument in arguments)
    return [sys.executable, str(checkout / script), *words]


def _download(download: Download, folder: Path, revision: str, again: str) -> None:
    """Fetch one repository; files that are there stay, and one that was cut off is resumed.

    Args:
        download: which.
        folder: of the weights.
        revision: full hash of a commit, or "" for the newest one, which is looked up first.
        again: the command that resumes it.

    Raises:
        WeightsError: it did not work.
        OutputError: the folder cannot be written, or the disk is full.
    """
    from backends.official.installation import DOWNLOADED, Downloaded

    repository, place = download.repository, folder / download.folder
    note = place / DOWNLOADED
    importlib.invalidate_caches()  # pip may have brought the package a moment ago.
    try:
        place.mkdir(parents=True, exist_ok=True)
        hub = importlib.import_module(HUB)
        revision = revision or _newest(hub, repository)
        terminal.stderr.print(Text(f"{repository} at revision {revision}"), soft_wrap=True)
        write_atomically(note, json_text(asdict(Downloaded(repository, revision, False))))
        hub.snapshot_download(
            repository,
            revision=revision,
            local_dir=str(place),
            allow_patterns=list(download.only) or None,
        )
        write_atomically(note, json_text(asdict(Downloaded(repository, revision, True))))
    except OutputError:
        raise
    except Exception as error:  # What the hub's client raises differs from version to version.
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            raise OutputError(f"cannot write {place}: {error.strerror}", _ELSEWHERE) from error
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"the download of {repository} to {place} stopped: {cause[:200]}",
            f"check the network, then resume with {again}",
        ) from error


def _newest(hub: Any, repository: str) -> str:
    """Look up the newest commit of a repository: files fetched one after the other are then of one state."""
    found = str(hub.HfApi().model_info(repository).sha)
    if not re.fullmatch(r"[0-9a-f]{40}", found):
        raise ValueError(f"expected the hash of its newest commit from the hub, found {found[:60]!r}")
    return found
