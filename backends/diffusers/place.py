"""Where the files of a pipeline are: a folder, or a repository on the hub at one commit."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from navicache_cli.errors import UsageError, WeightsError, one_line
from navicache_cli.reading import expand_user

INDEX = "model_index.json"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
_EXAMPLE = "--weights Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or a folder that save_pretrained wrote"


@dataclass(frozen=True)
class Place:
    """One version of a pipeline's files.

    Attributes:
        folder: where they are on this machine; of one on the hub maybe not all of them.
        hub: the repository's name, or "" for a folder.
        commit: of the repository, or "".
    """

    folder: Path
    hub: str = ""
    commit: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.hub or str(self.folder)

    def file(self, path: str) -> Path | None:
        """A small file of the pipeline, fetched if need be; None where there is none.

        Raises:
            WeightsError: the hub cannot be reached.
        """
        if not self.hub:
            found = self.folder / path
            return found if found.exists() else None
        return _from_hub(self.hub, path, self.commit)


@lru_cache(maxsize=16)
def find_place(weights: str, revision: str) -> Place:
    """Find what `--weights` names. Of a repository on the hub only its index is fetched.

    Raises:
        UsageError: nothing is named, or a folder at a revision.
        WeightsError: there is neither such a folder nor such a repository.
    """
    if not weights:
        raise UsageError("diffusers expects weights, found none", _EXAMPLE)
    folder = expand_user(weights)
    try:
        there = folder.exists()
    except OSError as error:
        raise WeightsError(f"cannot read {weights[:80]}: {error.strerror}", "check its permissions") from None
    if there and revision:
        raise UsageError(
            f"revision expects weights on the hub, found the folder {weights[:80]}", "drop --revision"
        )
    if there and not folder.is_dir():
        raise WeightsError(f"expected a folder of a pipeline, found the file {weights[:80]}", _EXAMPLE)
    if there:
        return Place(folder)
    if not _HUB_NAME.fullmatch(weights):
        raise WeightsError(
            f"expected a folder, or a name on the hub such as owner/name; found {weights[:80]!r}", _EXAMPLE
        )
    index = _from_hub(weights, INDEX, revision)
    if index is None:
        raise WeightsError(
            f"expected {INDEX} in {weights} on the hub, found none: it holds no pipeline of diffusers",
            "look for a repository whose name ends with -Diffusers",
        )
    # snapshots/COMMIT/model_index.json, in the hub's own cache.
    return Place(index.parent, weights, index.parent.name)


def download(place: Place) -> Path:
    """Fetch what a pipeline loads, at the commit of its index; a folder is there already.

    Raises:
        WeightsError: the hub cannot be reached, or has no safetensors of it.
    """
    if not place.hub:
        return place.folder
    from diffusers import DiffusionPipeline
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    if sys.stderr is not None and sys.stderr.isatty():
        enable_progress_bars()
    try:
        found = DiffusionPipeline.download(
            place.hub, revision=place.commit, use_safetensors=True, trust_remote_code=False
        )
    except Exception as error:  # of the hub, the network, the disk and diffusers
        raise _not_fetched(place.hub, "the weights", error) from error
    finally:
        disable_progress_bars()
    return Path(found)


def _from_hub(hub: str, path: str, revision: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()  # It says each time that it tries again.
    try:
        return Path(hf_hub_download(hub, path, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise _not_fetched(hub, path, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # of the hub and of the network
        raise _not_fetched(hub, path, error) from error


def _not_fetched(hub: str, what: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"cannot fetch {what} of {hub} from the hub: {one_line(error)}",
        "check the name, --revision and the network; `hf auth login` where it asks who you are",
    )
