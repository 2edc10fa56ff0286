"""Finds the four folders of official Open-Sora 1.2 weights and checks them before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.official.repositories import Checkout, managed_path
from backends.official.weight_files import (
    digest_files,
    file_faults,
    incomplete,
    managed_weights,
    read_config,
    shard_names,
    usual_places,
)
from backends.opensora.facts import IMAGE_VAE, OPENSORA, TEXT_ENCODER, TOGETHER, TRANSFORMER, VAE, VIDEOSYS
from navicache_cli.errors import WeightsError
from navicache_cli.reading import expand_user


@dataclass(frozen=True)
class Folder:
    """What one folder of the hub must hold.

    Attributes:
        hub_name: owner and name.
        expected: keys of its config and their values.
        stem: name of its weight files without what follows the first dot.
        subfolder: where in the folder they are.
        others: files it needs beside.
    """

    hub_name: str
    expected: dict[str, Any]
    stem: str = "model"
    subfolder: str = ""
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.hub_name.partition("/")[2]

    def download(self, folder: Path) -> str:
        """The command that fills `folder`."""
        if folder.parent == managed_weights(""):
            # In the one managed place, `setup` goes on with whichever code is there.
            videosys = not VIDEOSYS.missing(managed_path(VIDEOSYS.name))
            return f"navicache setup {(VIDEOSYS if videosys else OPENSORA).setup} --weights {TOGETHER}"
        only = f" --include '{self.subfolder}/*'" if self.subfolder else ""
        # The hub's cache keeps a folder for each commit, and fills it itself.
        target = "" if folder.parent.name == "snapshots" else f" --local-dir {folder}"
        return f"hf download {self.hub_name}{only}{target}"

    def config(self, folder: Path) -> Path:
        """The description of the weights in `folder`."""
        return folder / self.subfolder / "config.json"

    def files(self, folder: Path) -> list[Path]:
        """The files of weights in `folder`, there or not; those named by an index if there is one.

        Raises:
            ValueError: the index cannot be read.
        """
        inside = folder / self.subfolder
        kinds = (f"{self.stem}.safetensors", "pytorch_model.bin")
        found = [kinds[0]]
        for kind in kinds:
            index = inside / f"{kind}.index.json"
            if (inside / kind).exists():
                found = [kind]
            elif index.exists():
                found = shard_names(index)
            else:
                continue
            break
        return [inside / name for name in (*found, *self.others)]


FOLDERS = {
    TRANSFORMER: Folder(TRANSFORMER, {"model_type": "STDiT3"}),
    VAE: Folder(VAE, {"model_type": "VideoAutoencoderPipeline"}),
    # The VAE's first half, which the official code fetches by this name whatever else it is given.
    IMAGE_VAE: Folder(
        IMAGE_VAE, {"_class_name": "AutoencoderKL"}, stem="diffusion_pytorch_model", subfolder="vae"
    ),
    TEXT_ENCODER: Folder(TEXT_ENCODER, {"model_type": "t5", "d_model": 4096}, others=("spiece.model",)),
}


def locate_weights(given: str, checkout: Checkout | None) -> dict[str, Path]:
    """Find the four folders and check them; see `find_weights` and `check_weights`."""
    folders = find_weights(given, checkout)
    check_weights(folders)
    return folders


def find_weights(given: str, checkout: Checkout | None) -> dict[str, Path]:
    """Return the folder of each hub name.

    Args:
        given: the value of `--weights`, a folder that holds the four; or "" to look beside the official code,
            in the current directory, in the managed place, and in the hub's own cache.
        checkout: the official code, if there is any.

    Raises:
        WeightsError: one is not there.
    """
    found = {}
    for hub_name, folder in FOLDERS.items():
        places = [expand_user(given) / folder.name] if given else usual_places(folder.name, checkout)
        cached = [] if given else _in_hub_cache(folder)
        taken = next((place for place in [*places, *cached] if place.is_dir()), None)
        if taken is None:
            raise WeightsError(
                f"expected the weights {hub_name} at {' or '.join(map(str, places))}, found none",
                folder.download(places[-1]),
            )
        found[hub_name] = taken
    return found


def _in_hub_cache(folder: Folder) -> list[Path]:
    """The folder in huggingface_hub's cache (HF_HOME), if it is there; nothing is downloaded."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return []
    config = folder.config(Path())
    found = try_to_load_from_cache(folder.hub_name, str(config))
    # Not a path where the hub is known to have no such file.
    return [Path(found).parents[len(config.parents) - 1]] if isinstance(found, str) else []


def check_weights(folders: dict[str, Path]) -> None:
    """Check that all weights are complete and are the ones expected.

    Args:
        folders: as `find_weights` returns them.

    Raises:
        WeightsError: files are missing, cut short, or of another model.
    """
    for hub_name, place in folders.items():
        folder = FOLDERS[hub_name]
        try:
            config, files = read_config(folder.config(place)), folder.files(place)
        except ValueError as error:
            raise WeightsError(
                f"the weights {hub_name} in {place} are incomplete: cannot read their description: {error}",
                folder.download(place),
            ) from None
        for key, value in folder.expected.items():
            if config.get(key) != value:
                raise WeightsError(
                    f"expected weights of {hub_name} ({key} {value}) in {place}, "
                    f"found {str(config.get(key))[:40]!r}",
                    folder.download(place),
                )
        if faults := file_faults(place, files):
            raise WeightsError(
                incomplete(f"the weights {hub_name} in {place}", faults), folder.download(place)
            )


def digest_weights(folders: dict[str, Path]) -> str:
    """Name the content of transformer and VAE, which make the picture; see `digest_files`."""
    parts = []
    for hub_name in (TRANSFORMER, VAE):
        folder, place = FOLDERS[hub_name], folders[hub_name]
        parts.append(digest_files(place, folder.files(place), folder.config(place).read_bytes()))
    return " ".join(parts)
