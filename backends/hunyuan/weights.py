"""Finds a folder of official HunyuanVideo weights, checks it before they are loaded, and names its content.

The layout is that of ckpts/README.md in the official repository at fa14b00.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from backends.official.official import weights_errors
from backends.official.repositories import Checkout, managed_path
from backends.official.weight_files import (
    digest_files,
    file_faults,
    incomplete,
    managed_weights,
    shard_names,
    usual_places,
)
from navicache_cli.errors import WeightsError
from navicache_cli.reading import expand_user

MODEL, OTHER_MODEL = "hunyuan-video-t2v-720p", "hunyuan-video-i2v-720p"
VAE = f"{MODEL}/vae"
TEXT_ENCODER, CLIP = "text_encoder", "text_encoder_2"
LLAVA = "xtuner/llava-llama-3-8b-v1_1-transformers"
# Where transformers looks for a model's weights in a folder, the preferred first.
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
# The transformer as the official code builds it by default: its config, and channels of its latents.
# Source: hyvideo/modules/models.py and hyvideo/config.py at fa14b00.
KNOWN_CONFIG = {
    "hidden_size": 3072,
    "mm_double_blocks_depth": 20,
    "mm_single_blocks_depth": 40,
    "guidance_embed": True,
}
KNOWN_CHANNELS = 16


def transformer_file(folder: Path, fp8: bool) -> Path:
    """Return the transformer's file, for the official `--dit-weight`."""
    return folder / MODEL / "transformers" / f"mp_rank_00_model_states{'_fp8' if fp8 else ''}.pt"


def locate_weights(given: str, fp8: bool, checkout: Checkout | None) -> Path:
    """Find the folder of weights and check its files; see `find_weights` and `check_files`."""
    folder = find_weights(given, checkout)
    check_files(folder, fp8, checkout)
    return folder


def find_weights(given: str, checkout: Checkout | None) -> Path:
    """Return the folder of weights, which the official code calls ckpts.

    Args:
        given: the value of `--weights`, or "" to look beside the official code, in the current directory, and
            in the managed place.
        checkout: the official code, if there is any, in which a folder ckpts is there without weights too.

    Raises:
        WeightsError: it is not there, or holds HunyuanVideo-I2V.
    """
    named = [expand_user(given)] if given else []
    places = named or usual_places("ckpts", checkout, "HunyuanVideo")
    for place in places:
        if (place / MODEL).is_dir():
            return place.resolve()
    if named and (places[0] / OTHER_MODEL).is_dir():
        raise WeightsError(
            f"expected weights of HunyuanVideo ({MODEL}) in {places[0]}, found those of HunyuanVideo-I2V "
            f"({OTHER_MODEL})",
            _fix(Path(MODEL), places[0].parent / "HunyuanVideo", checkout),
        )
    raise WeightsError(
        f"expected the weights of HunyuanVideo, a folder with {MODEL}, at {' or '.join(map(str, places))}, "
        "found none",
        again(places[-1]),
    )


def weight_files(folder: Path, fp8: bool) -> list[Path]:
    """Return all files that the official code will read, there or not, without the tokenizers'."""
    transformer = transformer_file(folder, fp8)
    scales = [transformer.with_name(f"{transformer.stem}_map.pt")] if fp8 else []
    vae = [folder / VAE / "config.json", folder / VAE / "pytorch_model.pt"]
    encoders = [file for name in (TEXT_ENCODER, CLIP) for file in _model_files(folder / name)]
    return [transformer, *scales, *vae, *encoders]


def check_files(folder: Path, fp8: bool, checkout: Checkout | None) -> None:
    """Check that the files of weights and the tokenizers are there and whole.

    Raises:
        WeightsError: some are missing or cut short; with how they are made or downloaded.
    """
    tokenizers = [folder / name / "tokenizer_config.json" for name in (TEXT_ENCODER, CLIP)]
    if faults := file_faults(folder, [*weight_files(folder, fp8), *tokenizers]):
        fixes = dict.fromkeys(_fix(name, folder, checkout) for name in faults)
        raise WeightsError(incomplete(f"the weights of HunyuanVideo in {folder}", faults), " && ".join(fixes))


def digest_weights(folder: Path, fp8: bool) -> str:
    """Name the content of all weight files; see `digest_files`."""
    return digest_files(folder, weight_files(folder, fp8))


def check_transformer(path: Path, config: Mapping[str, Any], in_channels: int) -> None:
    """Check that a whole transformer file holds the official architecture, reading little of it.

    Args:
        path: a PyTorch file of tensors, alone or under the key `module`.
        config: the entry of the official HUNYUAN_VIDEO_CONFIG.
        in_channels: of the latents; HunyuanVideo-I2V has more.

    Raises:
        WeightsError: it holds another.
        OSError, RuntimeError, pickle.UnpicklingError: it cannot be read.
    """
    import torch

    if not zipfile.is_zipfile(path):
        return  # An old file cannot be mapped, and would have to be read whole.
    state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    state = state.get("module", state)
    first = state.get("img_in.proj.weight")
    expected = (
        config["hidden_size"], in_channels, config["mm_double_blocks_depth"],
        config["mm_single_blocks_depth"], bool(config.get("guidance_embed")),
    )  # fmt: skip
    found = (
        *(first.shape[:2] if first is not None else (0, 0)),
        _blocks(state, "double_blocks"),
        _blocks(state, "single_blocks"),
        any(key.startswith("guidance_in.") for key in state),
    )
    if found != expected:
        words = "{} wide, {} latent channels, {} + {} blocks, guidance embedded: {}"
        raise WeightsError(
            f"expected a HunyuanVideo transformer ({words.format(*expected)}) in {path}, "
            f"found {words.format(*found) if first is not None else 'another model'}",
            "choose weights of tencent/HunyuanVideo",
        )


def _blocks(state: Mapping[str, Any], stack: str) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(f"{stack}.")})


def _model_files(folder: Path) -> list[Path]:
    """The configuration and weight files that transformers reads of a folder, there or not."""
    main = next((folder / name for name in MODEL_FILES if (folder / name).exists()), folder / MODEL_FILES[0])
    files = [folder / "config.json", main]
    if main.suffix == ".json":
        try:
            shards = shard_names(main)
        except ValueError:
            shards = [MODEL_FILES[0]]  # Which is missing, and reported so.
        files += [folder / shard for shard in shards]
    return files


def reading_errors(folder: Path) -> AbstractContextManager[None]:
    """Turn what reading the weights in a folder raises into our errors; see `weights_errors`."""
    return weights_errors(f"the weights of HunyuanVideo in {folder}", again(folder))


def again(folder: Path) -> str:
    """The command that brings the weights to a folder, or repairs them there."""
    if folder == managed_weights("HunyuanVideo"):
        return "navicache setup hunyuan --weights HunyuanVideo"
    return f"hf download tencent/HunyuanVideo --local-dir {folder} --force-download"


def _fix(name: Path, folder: Path, checkout: Checkout | None) -> str:
    """The command that brings a file."""
    if folder == managed_weights("HunyuanVideo"):
        return again(folder)
    part = name.parts[0]
    if part == CLIP:
        return f"hf download openai/clip-vit-large-patch14 --local-dir {folder / CLIP}"
    if part == TEXT_ENCODER:
        source = folder / Path(LLAVA).name
        official = checkout.path if checkout else managed_path("hunyuan")
        program = official / "hyvideo/utils/preprocess_text_encoder_tokenizer_utils.py"
        return (
            f"hf download {LLAVA} --local-dir {source} && "
            f"python {program} --input_dir {source} --output_dir {folder / TEXT_ENCODER}"
        )
    return f"hf download tencent/HunyuanVideo --local-dir {folder}"
