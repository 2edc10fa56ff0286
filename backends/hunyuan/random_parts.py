"""Stand-ins for HunyuanVideo's weights: `--weights random` runs the official code without a download.

The transformer is the official class with random weights, its zeroed layers made random too. Both text
encoders and the VAE are replaced by small random maps of the same interface and shapes, so their time and
memory say nothing about the real ones. Everything is a function of the input and a fixed seed.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from backends.hunyuan.tasks import SMALL_HEADS
from backends.official.random_weights import enlarge

# The official architecture at a size for tests and CPUs; 24 channels a head are 3 equal parts for rotation.
SMALL_CONFIG = {
    "hidden_size": 96,
    "heads_num": SMALL_HEADS,
    "rope_dim_list": [8, 8, 8],
    "mm_double_blocks_depth": 2,
    "mm_single_blocks_depth": 2,
}
# Of the official text encoders, by their official names.
TEXT_CHANNELS = {"llm": 4096, "clipL": 768}
LATENT_CHANNELS, VOCABULARY = 16, 1024
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class RandomTextEncoder(nn.Module):
    """In the place of the official TextEncoder: a random vector for each word.

    Args:
        text_encoder_type: `llm`, which gives a vector a token, or `clipL`, which gives their mean.
        max_length: tokens with those of the template, which are left out of the result.
        text_encoder_precision: a key of `DTYPES`.
        prompt_template, prompt_template_video: whose `crop_start` is the template's number of tokens.
        device: where the vectors are.
    """

    def __init__(
        self,
        text_encoder_type: str,
        max_length: int,
        text_encoder_precision: str = "fp32",
        prompt_template: dict[str, Any] | None = None,
        prompt_template_video: dict[str, Any] | None = None,
        device: Any = None,
        **_: Any,
    ) -> None:
        super().__init__()
        self.pooled = text_encoder_type == "clipL"
        self.max_length = max_length
        self.templates = {"image": prompt_template or {}, "video": prompt_template_video or {}}
        self.dtype = DTYPES[text_encoder_precision]
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(VOCABULARY, TEXT_CHANNELS[text_encoder_type], generator=generator)
        self.embedding = nn.Embedding.from_pretrained(vectors.to(device, self.dtype))

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def text2tokens(self, texts: list[str], data_type: str = "image") -> dict[str, Tensor]:
        """Return the words of each text as numbers, and a mask of those that are there: both [B, tokens]."""
        size = self.max_length - self.templates[data_type].get("crop_start", 0)
        words = [[_number(word) for word in text.split() or [""]][:size] for text in texts]
        return {
            "input_ids": torch.tensor([[*row, *[0] * (size - len(row))] for row in words]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (size - len(row)) for row in words]),
        }

    def encode(self, batch_encoding: dict[str, Tensor], device: Any = None, **_: Any) -> SimpleNamespace:
        """Return `hidden_state`, [B, tokens, 4096] or pooled [B, 768], and the `attention_mask`."""
        vectors = self.embedding(batch_encoding["input_ids"].to(device or self.device))
        mask = batch_encoding["attention_mask"].to(vectors.device)
        if self.pooled:
            # Scaled so that the mean of more words is as large as one.
            vectors = (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) ** 0.5
        return SimpleNamespace(hidden_state=vectors.to(self.dtype), attention_mask=mask)


def _number(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % VOCABULARY


class RandomVAE(nn.Module):
    """In the place of the official VAE: a random linear map of 16 channels to the colour of a latent cell."""

    def __init__(self) -> None:
        super().__init__()
        # What the official pipeline reads: four levels make 8×8 pixels a cell. Source of the factor: the
        # published vae/config.json.
        self.config = SimpleNamespace(block_out_channels=(128, 256, 512, 512), scaling_factor=0.476986)
        generator = torch.Generator().manual_seed(1)
        # Smaller by the factor that the latents are divided by before they come here.
        to_pixels = torch.randn(3, LATENT_CHANNELS, generator=generator) * 0.476986 / LATENT_CHANNELS**0.5
        self.to_pixels = nn.Linear(LATENT_CHANNELS, 3, bias=False)
        self.to_pixels.weight = nn.Parameter(to_pixels, requires_grad=False)

    @property
    def device(self) -> torch.device:
        return self.to_pixels.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.to_pixels.weight.dtype

    def enable_tiling(self) -> None:
        """Nothing here is large enough to be done in tiles."""

    def decode(self, latents: Tensor, **_: Any) -> tuple[Tensor]:
        """Map [B, 16, n+1, h, w] to pixels [B, 3, 4n+1, 8h, 8w] in [-1, 1], in a tuple as officially."""
        pixels = self.to_pixels(rearrange(latents, "b z f h w -> b f h w z"))
        return (enlarge(rearrange(pixels, "b f h w c -> b c f h w").tanh()),)


def load_random_vae(
    vae_type: str = "", vae_precision: str = "fp32", device: Any = None, **_: Any
) -> tuple[RandomVAE, str, int, int]:
    """In the place of the official `load_vae`: the VAE, its path, and how far it shrinks space and time."""
    return RandomVAE().to(device, DTYPES[vae_precision]), "", 8, 4
