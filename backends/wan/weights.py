"""Finds a folder of official Wan weights, checks it before anything is loaded, and names its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.official.repositories import Checkout
from backends.official.weight_files import (
    digest_files,
    file_faults,
    incomplete,
    managed_weights,
    read_config,
    shard_names,
    usual_places,
)
from backends.wan.tasks import EXPERTS, TASKS, WAN, WAN22, Task
from navicache_cli.errors import WeightsError
from navicache_cli.reading import expand_user

TRANSFORMER = "diffusion_pytorch_model.safetensors"
_TEXT_AND_VAE = {
    "t5_checkpoint": "models_t5_umt5-xxl-enc-bf16.pth",
    "t5_tokenizer": "google/umt5-xxl",
    "vae_checkpoint": "Wan2.1_VAE.pth",
}
_SIZES = {
    "1.3B": {"dim": 1536, "num_layers": 30},
    "14B": {"dim": 5120, "num_layers": 40},
    "5B": {"dim": 3072, "num_layers": 30},
}
_CLIP = {
    "clip_checkpoint": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
    "clip_tokenizer": "xlm-roberta-large",
}


def known_config(task: str) -> dict[str, Any]:
    """Return what the official WAN_CONFIGS say about a task's weights, without the official code.

    Source: wan/configs at 9737cba, and of Wan2.2 at 42bf4cf.
    """
    size = next(size for name, size in _SIZES.items() if task.endswith(name))
    if TASKS[task].official == WAN22:
        vae = {} if TASKS[task].experts else {"vae_checkpoint": "Wan2.2_VAE.pth"}
        experts = {key: attribute for _, attribute, key in TASKS[task].experts}
        return {**size, **_TEXT_AND_VAE, **vae, **experts}
    pictures = _CLIP if TASKS[task].model_type in ("i2v", "flf2v") else {}
    return {**size, **_TEXT_AND_VAE, **pictures}


def locate_weights(given: str, name: str, task: Task, config: Any, checkout: Checkout | None) -> Path:
    """Find the folder of weights and check it; see `find_weights` and `check_weights`."""
    folder = find_weights(given, name, checkout)
    check_weights(folder, name, task, config)
    return folder


def find_weights(given: str, name: str, checkout: Checkout | None) -> Path:
    """Return the folder of weights.

    Args:
        given: the value of `--weights`, or "" to look beside the official code, in the current directory, and
            in the managed place.
        name: the official name, such as `Wan2.1-T2V-1.3B`.
        checkout: the official code, if there is any.

    Raises:
        WeightsError: it is not there.
    """
    places = [expand_user(given)] if given else usual_places(name, checkout)
    for place in places:
        if place.is_dir():
            return place
    raise WeightsError(
        f"expected the weights {name} at {' or '.join(map(str, places))}, found none",
        _download(name, places[-1]),
    )


def check_weights(folder: Path, name: str, task: Task, config: Any) -> None:
    """Check that the weights are complete and belong to the task.

    Args:
        folder: where they are.
        name: their official name, for the message.
        task: what they are to do.
        config: the task's entry of the official WAN_CONFIGS, which names the files; or `known_config`.

    Raises:
        WeightsError: files are missing, cut short, or of another task.
    """
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "num_heads", "num_layers") if key in config}
    expected = {"model_type": task.model_type, **sizes}
    for place in _transformers(folder, config):
        if place != folder and not place.is_dir() and (folder / "config.json").is_file():
            place = folder  # One transformer where two experts belong: it says what it is.
        try:
            found = read_config(place / "config.json")
        except ValueError as error:
            raise _unreadable(folder, place / "config.json", name, error) from None
        other = {key: found.get(key, value) for key, value in expected.items()}
        if other != expected:
            raise WeightsError(
                f"expected weights of {name} ({_listed(expected)}) in {place}, found {_listed(other)}",
                f"choose the task these weights are for, or {_download(name, folder.parent / name)}",
            )
    if faults := file_faults(folder, weight_files(folder, name, config)):
        raise WeightsError(incomplete(f"the weights {name} in {folder}", faults), _download(name, folder))


def weight_files(folder: Path, name: str, config: Any) -> list[Path]:
    """Return all files and tokenizer folders that the official code will read, there or not."""
    files = []
    for place in _transformers(folder, config):
        index = place / f"{TRANSFORMER}.index.json"
        shards = [TRANSFORMER]
        if index.exists():
            try:
                shards = shard_names(index)
            except ValueError as error:
                raise _unreadable(folder, index, name, error) from None
        files += [place / shard for shard in shards]
    kinds = ("t5_checkpoint", "t5_tokenizer", "vae_checkpoint", "clip_checkpoint", "clip_tokenizer")
    return [*files, *(folder / config[kind] for kind in kinds if kind in config)]


def digest_weights(folder: Path, name: str, config: Any) -> str:
    """Name the content of each config.json and all weight files; see `digest_files`."""
    configs = [(place / "config.json").read_bytes() for place in _transformers(folder, config)]
    return digest_files(folder, weight_files(folder, name, config), b"".join(configs))


def _transformers(folder: Path, config: Any) -> list[Path]:
    """The folder of the transformer, or those of the experts, the first one first."""
    return [folder / config[key] for _, _, key in EXPERTS if key in config] or [folder]


def _unreadable(folder: Path, path: Path, name: str, error: ValueError) -> WeightsError:
    return WeightsError(
        f"the weights {name} in {folder} are incomplete: cannot read {path.relative_to(folder)}: {error}",
        _download(name, folder),
    )


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:40]}" for key, value in values.items())


def _download(name: str, folder: Path) -> str:
    """The command that brings the weights to `folder`, or resumes where a download stopped."""
    if folder == managed_weights(name):
        family = next(official.setup for official in (WAN, WAN22) if name.startswith(official.title))
        return f"navicache setup {family} --weights {name}"
    return f"hf download Wan-AI/{name} --local-dir {folder}"
