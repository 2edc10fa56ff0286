"""Reads a folder of `tiny`'s weights; what a file claims is checked before memory is taken for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from navicache_cli.errors import WeightsError, one_line
from navicache_cli.plan.presets import unknown
from navicache_cli.reading import read_bytes, read_json

if TYPE_CHECKING:
    from torch import nn

Part = TypeVar("Part", bound="nn.Module")
MOST_WEIGHTS = 1 << 30  # bytes of a file
_HINT = "reinstall navicache, or train the weights: python -m backends.tiny.train"
# Of the transformer's configuration: what a training may choose, each a whole number from 1 on, ...
_MOST = {"dim": 1 << 14, "ffn_dim": 1 << 16, "freq_dim": 1 << 14, "num_heads": 1 << 10, "num_layers": 100}
# ... and what text encoder and codec have settled.
_SETTLED = {
    "model_type": "t2v",
    "text_len": 24,
    "in_dim": 25,
    "text_dim": 128,
    "out_dim": 16,
    "patch_size": [1, 2, 2],
}


def read_config(folder: Path) -> dict[str, Any]:
    """Read the transformer's configuration: the arguments of `TinyWan`.

    Raises:
        WeightsError: it cannot be read, or is none of a transformer that fits codec and text encoder.
    """
    path = folder / "config.json"
    try:
        config = read_json(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}", _HINT) from None
    if not isinstance(config, dict):
        raise WeightsError(f"cannot read {path}: it is not a transformer configuration", _HINT)

    def expect(fine: bool, key: str, expected: str) -> None:
        if not fine:
            found = str(config.get(key, "nothing"))[:60]
            raise WeightsError(f"{path}: {key} expects {expected}, found {found}", _HINT)

    known = (*_SETTLED, *_MOST, "eps")
    for key in config:
        if key not in known:
            raise WeightsError(f"{path}: {unknown('key', key[:60], known)}", _HINT)
    for key, value in _SETTLED.items():
        expect(str(config.get(key)) == str(value), key, str(value))
    for key, most in _MOST.items():
        number = config.get(key)
        expect(type(number) is int and 1 <= number <= most, key, f"a whole number of 1 to {most}")
    expect(type(config.get("eps")) is float and 0 < config["eps"] < 1, "eps", "a number between 0 and 1")
    expect(config["freq_dim"] % 2 == 0, "freq_dim", "an even number")
    expect(config["dim"] % (2 * config["num_heads"]) == 0, "dim", "an even number for each of num_heads")
    del config["model_type"]
    return {**config, "patch_size": tuple(config["patch_size"])}


def load_part(make: Callable[[], Part], path: Path) -> tuple[Part, bytes]:
    """Load one safetensors file into the module that `make` makes; return it, and the file's digest.

    Raises:
        WeightsError: the file is missing, damaged, or holds other tensors than the module has.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = read_bytes(path, MOST_WEIGHTS)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror}", _HINT) from None
    try:
        tensors = load(data)
        if other := {str(tensor.dtype) for tensor in tensors.values() if not tensor.is_floating_point()}:
            raise ValueError(f"floating point numbers expected, found {', '.join(sorted(other))}")
        with torch.device("meta"):  # shapes without memory
            module = make()
        # Copies, as what is loaded lies in the file's bytes wherever it happens to.
        copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
        module.load_state_dict(copies, assign=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        cause = one_line(error, 120)
        raise WeightsError(f"{path} does not hold weights of tiny's {path.stem}: {cause}", _HINT) from None
    return module, hashlib.sha256(data).digest()
