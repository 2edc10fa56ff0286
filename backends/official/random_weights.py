"""Random models for `--weights random`: the official classes without a download."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import repeat
from torch import Tensor, nn


def random_model(build: Callable[[], nn.Module], device: torch.device, seed: int = 0) -> nn.Module:
    """Build a model with the same random weights each time, and none of its layers silent.

    Diffusion transformers start with layers of zeros, so that an untrained one gives zeros whatever it is
    asked; those are made random here.

    Args:
        build: makes the model.
        device: where its weights are made.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(seed)
        model = build()
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim == 2 and not parameter.any():
                nn.init.xavier_uniform_(parameter)
    return model


def enlarge(cells: Tensor, side: int = 8) -> Tensor:
    """Repeat latent cells [..., n, h, w] to pixels [..., 4n-3, side h, side w]: the first is one frame."""
    pixels = repeat(cells, "... n h w -> ... (n t) (h y) (w x)", t=4, y=side, x=side)
    return pixels[..., 3:, :, :]
