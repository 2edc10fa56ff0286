"""The latent video codec: Wan's (4, 8, 8) stride and 16 channels; linear one way, convolutions back.

Frames go in as 1 + 4n: the first frame is a group of its own, then groups of four. A group is coded
without looking at the others, so latent i depends on frames up to 4i only (causal, like Wan's VAE).

The encoder is the first 16 principal components of a block of four frames of 8×8 pixels. Such latents keep
the order of natural signals, few strong directions and smooth neighbours, and take seconds
to fit. The decoder looks at neighbouring blocks too and draws the edges that the components leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = (4, 8, 8)  # frames, rows, columns of pixels a latent stands for
CHANNELS = 16


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip; the second starts at zero, so no norm is needed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Codec(nn.Module):
    """Encoder and decoder: video [B, 3, F, H, W] in [-1, 1], latents [B, 16, (F-1)/4+1, H/8, W/8]."""

    def __init__(self, wide: int = 128, fine: int = 96) -> None:
        super().__init__()
        # A block is 4 frames x RGB x 8x8 pixels = 768 numbers.
        self.encoder = nn.Sequential(nn.PixelUnshuffle(8), nn.Conv2d(768, CHANNELS, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, wide, 3, padding=1),
            ResidualBlock(wide),
            ResidualBlock(wide),
            nn.Conv2d(wide, 4 * fine, 1),
            nn.PixelShuffle(2),
            ResidualBlock(fine),
            ResidualBlock(fine),
            ResidualBlock(fine),
            nn.Conv2d(fine, 24 * 16, 3, padding=1),
            nn.PixelShuffle(4),
            nn.SiLU(),
            nn.Conv2d(24, 12, 3, padding=1),
        )

    def encode_groups(self, groups: Tensor) -> Tensor:
        """Encode groups of four frames [N, 12, H, W] to latents [N, 16, H/8, W/8]."""
        return self.encoder(groups)

    @torch.no_grad()
    def fit_encoder(self, groups: Tensor) -> None:
        """Set the encoder to the principal components of groups [N, 12, H, W].

        Component k leaves with a variance in proportion to the square root of its own, the mean over the
        channels being 1: strong directions stay stronger, but not as much as in the pixels.
        """
        blocks = rearrange(F.pixel_unshuffle(groups, 8), "n c h w -> (n h w) c").double()
        mean = blocks.mean(0)
        variances, directions = torch.linalg.eigh((blocks - mean).T @ (blocks - mean) / len(blocks))
        variances, directions = variances[-CHANNELS:].flip(0), directions[:, -CHANNELS:].flip(1)
        directions = directions * directions.sum(0).sign()  # the sign is arbitrary: make it reproducible
        weight = (directions * (variances.sqrt().mean() * variances.sqrt()).rsqrt()).T
        self.encoder[1].load_state_dict({"weight": weight[..., None, None], "bias": -weight @ mean})

    def decode_groups(self, latents: Tensor) -> Tensor:
        """Decode latents [N, 16, h, w] to groups of four frames [N, 12, 8h, 8w]."""
        return self.decoder(latents)

    def encode(self, video: Tensor) -> Tensor:
        """Encode video [B, 3, 1+4n, H, W] in [-1, 1] to latents [B, 16, 1+n, H/8, W/8]."""
        latents = self.encode_groups(to_groups(video))
        return rearrange(latents, "(b n) c h w -> b c n h w", b=len(video))

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, 16, 1+n, h, w] to video [B, 3, 1+4n, 8h, 8w], clamped to [-1, 1]."""
        with _one_thread():
            groups = self.decode_groups(rearrange(latents, "b c n h w -> (b n) c h w"))
        return from_groups(groups, len(latents)).clamp(-1, 1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU, so that a video does not depend on how many there are.

    Convolutions add up in another order on more. The last bits that differ then round a pixel or two to the
    other side, and one such pixel makes the encoder choose otherwise: 44 dB between two files of one seed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def to_groups(video: Tensor) -> Tensor:
    """Cut video [B, 3, 1+4n, H, W] into [B*(1+n), 12, H, W]; the first frame fills its group alone."""
    padded = torch.cat([repeat(video[:, :, 0], "b c h w -> b c 3 h w"), video], dim=2)
    return rearrange(padded, "b c (n t) h w -> (b n) (t c) h w", t=4)


def from_groups(groups: Tensor, batch: int) -> Tensor:
    """Undo `to_groups`: [B*(1+n), 12, H, W] to [B, 3, 1+4n, H, W]."""
    return rearrange(groups, "(b n) (t c) h w -> b c (n t) h w", b=batch, t=4)[:, :, 3:]
