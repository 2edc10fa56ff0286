"""Stand-ins for weights of Wan2.1 and Wan2.2: `--weights random` runs the official code without a download.

The transformer is the official class with random weights, its zeroed layers made random too. Text encoder,
VAE and CLIP are replaced by small random maps of the same interface and shapes, so their time and memory say
nothing about the real ones. Everything is a function of the input and a fixed seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from backends.official.random_weights import enlarge, random_model
from backends.wan.tasks import Task

# The official architecture at a size for tests and CPUs; 24 channels a head are 3 equal parts for rotation.
SMALL_CONFIG = {"dim": 96, "ffn_dim": 192, "num_heads": 4, "num_layers": 3}
TEXT_CHANNELS, CLIP_CHANNELS, LATENT_CHANNELS = 4096, 1280, 16


@dataclass(frozen=True)
class RandomTransformer:
    """Takes the place of the official transformer class where it is asked for `from_pretrained`.

    Args:
        kind: the official class.
        arguments: of its constructor.
        device: where to make the weights.
        idle_on_cpu: the official code moves the model to the device when its turn comes.
    """

    kind: type[nn.Module]
    arguments: dict[str, Any]
    device: torch.device
    idle_on_cpu: bool = False

    def from_pretrained(self, folder: str, subfolder: str = "") -> nn.Module:
        """Build the model with random weights, others for another `subfolder`; `folder` is ignored."""
        model = random_model(lambda: self.kind(**self.arguments), self.device, seed=crc32(subfolder.encode()))
        return model.cpu() if self.idle_on_cpu else model


def transformer_arguments(task: Task, config: Any) -> dict[str, Any]:
    """Return the official transformer's constructor arguments for a task's official config."""
    sizes = {key: config[key] for key in ("dim", "ffn_dim", "freq_dim", "num_heads", "num_layers")}
    more: dict[str, Any] = {}
    if task.model_type == "vace":
        # Every second layer has a block of VACE's, in the 14B every fifth, as in the weights' config.json.
        # Its input is two times 16 latents and 64 of mask: wan/vace.py.
        every = 5 if config["num_layers"] == 40 else 2
        more = {
            "vace_layers": [*range(0, config["num_layers"], every)],
            "vace_in_dim": 2 * LATENT_CHANNELS + 64,
        }
    kind = {"model_type": task.model_type, "text_len": config.text_len}
    channels = {"in_dim": task.in_channels, "out_dim": task.latent_channels}
    return {**sizes, **kind, **channels, **more}


class RandomTextEncoder:
    """In the place of the official T5EncoderModel: noise that depends on the text, one token a word."""

    def __init__(self, text_len: int, dtype: torch.dtype, **_: Any) -> None:
        self.text_len = text_len
        self.dtype = dtype
        self.model = nn.Identity()

    def __call__(self, texts: list[str], device: torch.device) -> list[Tensor]:
        """Return for each text [words, 4096]."""
        # On a CPU the official autocast is off, and float32 weights want float32 input.
        dtype = self.dtype if device.type == "cuda" else torch.float32
        return [self._encode(text).to(device, dtype) for text in texts]

    def _encode(self, text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        words = min(max(len(text.split()), 1), self.text_len)
        return torch.randn(words, TEXT_CHANNELS, generator=torch.Generator().manual_seed(seed))


class _VAEModel(nn.Identity):
    """What the official code reads of the VAE's network."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim


class RandomVAE:
    """In the place of the official VAE: a random linear map of 4×8×8 pixels to a cell of 16 channels.

    Args:
        vae_pth: ignored.
        device: where the map is.
        channels: of the latents.
        cell: pixels along each side of a cell.
    """

    def __init__(
        self, vae_pth: str = "", device: Any = "cpu", channels: int = LATENT_CHANNELS, cell: int = 8, **_: Any
    ) -> None:
        self.model = _VAEModel(channels)
        self.cell = cell
        generator = torch.Generator().manual_seed(1)
        self.to_pixels = torch.randn(3, channels, generator=generator).to(device) / channels**0.5
        self.to_latents = torch.randn(channels, 3, generator=generator).to(device)

    def encode(self, videos: list[Tensor]) -> list[Tensor]:
        """Map each [3, 4n+1, H, W] in [-1, 1] to [channels, n+1, H/cell, W/cell]."""
        latents = []
        for video in videos:
            # The first frame alone, the others by fours, as the real one does.
            padded = torch.cat([repeat(video[:, 0], "c h w -> c 3 h w"), video], dim=1)
            cells = functional.avg_pool3d(padded[None].float(), (4, self.cell, self.cell))[0]
            latents.append(torch.einsum("zc,cfhw->zfhw", self.to_latents, cells))
        return latents

    def decode(self, latents: list[Tensor]) -> list[Tensor]:
        """Map each [channels, n+1, h, w] to [3, 4n+1, cell · h, cell · w] in [-1, 1]."""
        videos = []
        for latent in latents:
            pixels = torch.einsum("cz,zfhw->cfhw", self.to_pixels, latent.float()).tanh()
            videos.append(enlarge(pixels, self.cell))
        return videos


class RandomCLIP:
    """In the place of the official CLIPModel: a random linear map of a picture's 16×16 patches."""

    def __init__(self, device: Any = "cpu", **_: Any) -> None:
        self.model: Any = nn.Identity()
        generator = torch.Generator().manual_seed(2)
        self.to_features = torch.randn(3, CLIP_CHANNELS, generator=generator).to(device)

    def visual(self, videos: list[Tensor]) -> Tensor:
        """Map pictures, each [3, 1, H, W] in [-1, 1], to [pictures, 257, 1280]: a mean and 256 patches."""
        grid = torch.stack([functional.adaptive_avg_pool2d(video[:, 0].float(), 16) for video in videos])
        patches = rearrange(grid, "b c h w -> b (h w) c")
        return torch.cat([patches.mean(1, keepdim=True), patches], dim=1) @ self.to_features


class TorchWithoutCuda:
    """`torch` for a module whose code names the device `cuda:0`: every device is the CPU."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is torch's."""
        return getattr(torch, name)

    def device(self, *_: Any) -> torch.device:
        """Return the CPU."""
        return torch.device("cpu")
