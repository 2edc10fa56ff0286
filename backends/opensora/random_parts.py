"""Stand-ins for Open-Sora's weights: `--weights random` runs the official code without a download.

The transformer is the official class with random weights, its zeroed layers made random too. Tokenizer, T5
and VAE are replaced by small random maps of the same interface and shapes, so their time and memory say
nothing about the real ones. Everything is a function of the input and a fixed seed.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn

from backends.official.random_weights import random_model
from backends.opensora.facts import LATENT_CHANNELS, MICRO_FRAMES, MICRO_LATENTS, TEXT_CHANNELS

# The official architecture at a size for tests and CPUs.
SMALL_CONFIG = {"hidden_size": 64, "depth": 3, "num_heads": 4}
VOCABULARY = 512


def random_transformer(kind: Any, device: torch.device, sizes: dict[str, Any], **arguments: Any) -> nn.Module:
    """Build the official STDiT3 with seeded random weights.

    Args:
        kind: the official class, whose config's defaults are the XL/2 architecture.
        device: where to make the weights.
        sizes: what to change of the architecture.
        arguments: what the official code passes to `from_pretrained`.
    """
    return random_model(lambda: kind(kind.config_class(**{**arguments, **sizes})), device)


class RandomTokenizer:
    """In the place of T5's tokenizer: one token a word, and one at the end."""

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask`, each [texts, max_length]."""
        ids = torch.zeros(len(texts), max_length, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            for column, word in enumerate(text.split()[: max_length - 1]):
                row[column] = 2 + int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) % (VOCABULARY - 2)
            row[min(len(text.split()), max_length - 1)] = 1
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class _Part(nn.Module):
    """A module with one random table, of a fixed seed."""

    def __init__(self, *shape: int, seed: int) -> None:
        super().__init__()
        table = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("table", table)

    @property
    def device(self) -> torch.device:
        return self.get_buffer("table").device

    @property
    def dtype(self) -> torch.dtype:
        return self.get_buffer("table").dtype


class RandomTextEncoder(_Part):
    """In the place of T5: each token's own noise."""

    def __init__(self) -> None:
        super().__init__(VOCABULARY, TEXT_CHANNELS, seed=1)
        self.config = SimpleNamespace(d_model=TEXT_CHANNELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return `last_hidden_state` [texts, tokens, 4096]."""
        return {"last_hidden_state": self.get_buffer("table")[input_ids]}


class RandomVAE(_Part):
    """In the place of the VAE: a random linear map a latent, 4 channels to 4×8×8 pixels of one colour."""

    out_channels = LATENT_CHANNELS

    def __init__(self) -> None:
        super().__init__(LATENT_CHANNELS, 3, seed=2)

    def get_latent_size(self, size: tuple[int, int, int]) -> list[int]:
        """Return frames, height and width of the latents of a video of `size`."""
        frames, height, width = size
        whole, rest = divmod(frames, MICRO_FRAMES)
        return [whole * MICRO_LATENTS + -(-rest // 4), height // 8, width // 8]

    def decode(self, latents: Tensor, num_frames: int) -> Tensor:
        """Map [B, 4, f, h, w] to [B, 3, num_frames, 8h, 8w] in [-1, 1]."""
        pixels = torch.einsum("zc,bzfhw->bcfhw", self.get_buffer("table"), latents / 2).tanh()
        parts = []
        for part in pixels.split(MICRO_LATENTS, dim=2):
            frames = min(MICRO_FRAMES, num_frames)
            # As the real one: the frames are padded in front to a multiple of four.
            repeated = repeat(part, "b c f h w -> b c (f t) h w", t=4)
            parts.append(repeated[:, :, repeated.shape[2] - frames :])
            num_frames -= frames
        return repeat(torch.cat(parts, dim=2), "b c f h w -> b c f (h y) (w x)", y=8, x=8)

    def forward(self, latents: Tensor, decode_only: bool = True, num_frames: int = 1) -> Tensor:
        """As VideoSys calls the VAE: `decode`."""
        return self.decode(latents, num_frames=num_frames)
