"""The latent video codec: Wan's (4, 8, 8) stride and 16 channels, a few small convolutions each way.

Frames go in as 1 + 4n: the first frame is a group of its own, then groups of four. A group is coded
without looking at the others, so latent i depends on frames up to 4i only (causal, like Wan's VAE).
"""

from __future__ import annotations

import torch
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
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),  # 4 frames x RGB x 4x4 pixels = 192 channels at 1/4 size
            nn.Conv2d(192, fine, 3, padding=1),
            ResidualBlock(fine),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * fine, wide, 1),
            ResidualBlock(wide),
            nn.Conv2d(wide, CHANNELS, 1),
        )
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
        # Latents leave with zero mean and unit variance a channel, as diffusion wants them.
        self.scale = nn.BatchNorm2d(CHANNELS, affine=False, momentum=0.02)

    def encode_groups(self, groups: Tensor) -> Tensor:
        """Encode groups of four frames [N, 12, H, W] to latents [N, 16, H/8, W/8]."""
        return self.scale(self.encoder(groups).float())

    def decode_groups(self, latents: Tensor) -> Tensor:
        """Decode latents [N, 16, h, w] to groups of four frames [N, 12, 8h, 8w]."""
        return self.decoder(latents)

    def encode(self, video: Tensor) -> Tensor:
        """Encode video [B, 3, 1+4n, H, W] in [-1, 1] to latents [B, 16, 1+n, H/8, W/8]."""
        b = video.shape[0]
        latents = self.encode_groups(to_groups(video))
        return latents.unflatten(0, (b, -1)).transpose(1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, 16, 1+n, h, w] to video [B, 3, 1+4n, 8h, 8w], clamped to [-1, 1]."""
        b = latents.shape[0]
        groups = self.decode_groups(latents.transpose(1, 2).flatten(0, 1))
        return from_groups(groups, b).clamp(-1, 1)


def to_groups(video: Tensor) -> Tensor:
    """Cut video [B, 3, 1+4n, H, W] into [B*(1+n), 12, H, W]; the first frame fills its group alone."""
    padded = torch.cat([video[:, :, :1].expand(-1, -1, 3, -1, -1), video], dim=2)
    return padded.transpose(1, 2).unflatten(1, (-1, 4)).flatten(0, 1).flatten(1, 2)


def from_groups(groups: Tensor, batch: int) -> Tensor:
    """Undo `to_groups`: [B*(1+n), 12, H, W] to [B, 3, 1+4n, H, W]."""
    frames = groups.unflatten(0, (batch, -1)).unflatten(2, (4, 3)).flatten(1, 2)
    return frames[:, 3:].transpose(1, 2)
