"""The parts of `tiny` that no stock class can express, in classes that diffusers loads by name.

`model_index.json` of an exported folder names this module; once it is imported, diffusers finds its classes,
and their base `ModelMixin` here. What keeps a stock class from doing it:

- transformer: nothing but the noise tells the stock one where a latent stands: on equal latents it answers
  equally everywhere. `tiny` has nine fixed channels for that.
- text encoder: each word sees only its own phrase, which depends on the words before it.
- codec: this one places all pixels of a latent by pixel shuffles, with no norm; `AutoencoderKLWan` has norms,
  and at least one of its doublings repeats pixels.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

from backends.tiny.codec import CHANNELS, STRIDE, Codec
from backends.tiny.model import coordinates
from backends.tiny.text import TEXT_LEN, TOKENS, WHOLE, TextEncoder, Tokens, split_phrases
from navicache_cli.errors import UsageError


class PlacedPatches(nn.Conv3d):
    """Wan's patch embedding, which appends to each latent where it stands; see `coordinates`."""

    def forward(self, latents: Tensor) -> Tensor:
        """Embed latents [B, 16, F, H, W]."""
        _, _, f, h, w = latents.shape
        placed = repeat(coordinates((f, h, w)).to(latents), "c f h w -> b c f h w", b=len(latents))
        embedded: Tensor = super().forward(torch.cat([latents, placed], dim=1))
        return embedded


class TinyTransformer3DModel(WanTransformer3DModel):  # type: ignore[misc]
    """`WanTransformer3DModel` with coordinates in its patch embedding, for `tiny`'s number of words."""

    # With the arguments of Wan's, which diffusers reads to know what a configuration may hold.
    @wraps(WanTransformer3DModel.__init__)  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        plain: Any = self.patch_embedding  # type: ignore[has-type]
        channels = plain.in_channels + len(coordinates((1, 1, 1)))
        self.patch_embedding = PlacedPatches(channels, plain.out_channels, plain.kernel_size, plain.stride)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *rest: Any,
        **options: Any,
    ) -> Any:
        """See `WanTransformer3DModel.forward`.

        Behind as many words as `tiny` was taught there is padding of the pipeline alone, which is not masked.
        """
        words = encoder_hidden_states[:, :TEXT_LEN]
        return super().forward(hidden_states, timestep, words, *rest, **options)  # type: ignore[misc]


class TinyTextEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """`tiny`'s text encoder behind the arguments of transformers' encoders."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextEncoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        """Encode words [B, L], those where the mask [B, L] is 1, to [B, L, 128]; 0 behind the last word.

        Raises:
            UsageError: a prompt has more words than `tiny` was taught to read.
        """
        rows = [ids[mask > 0].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        encoded = self.encoder([_tokens(row) for row in rows])
        padded = [F.pad(words, (0, 0, 0, input_ids.shape[1] - len(words))) for words in encoded]
        return BaseModelOutput(last_hidden_state=torch.stack(padded))


def _tokens(ids: list[int]) -> Tokens:
    """The words of one prompt with their phrases; `ids` has the end token last."""
    if len(ids) > TEXT_LEN:
        raise UsageError(
            f"`tiny` reads prompts of up to {TEXT_LEN - 1} known words, found {len(ids) - 1}",
            "describe at most two objects, one background and one camera move",
        )
    phrases = split_phrases([TOKENS[index] for index in ids[:-1]])
    return Tokens(tuple(ids), (*phrases, WHOLE), ())


class TinyAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """`tiny`'s codec behind the arguments and the configuration of `AutoencoderKLWan`."""

    @register_to_config
    def __init__(
        self,
        z_dim: int = CHANNELS,
        latents_mean: tuple[float, ...] = (0.0,) * CHANNELS,
        latents_std: tuple[float, ...] = (1.0,) * CHANNELS,
        scale_factor_temporal: int = STRIDE[0],
        scale_factor_spatial: int = STRIDE[1],
    ) -> None:
        super().__init__()
        self.codec = Codec()

    @apply_forward_hook
    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Encode video [B, 3, 1+4n, H, W] to latents [B, 16, 1+n, H/8, W/8]; nothing is drawn."""
        latents = self.codec.encode(x)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    @apply_forward_hook
    def decode(self, z: Tensor, return_dict: bool = True) -> Any:
        """Decode latents [B, 16, 1+n, h, w] to video [B, 3, 1+4n, 8h, 8w] in [-1, 1]."""
        video = self.codec.decode(z)
        return DecoderOutput(sample=video) if return_dict else (video,)
