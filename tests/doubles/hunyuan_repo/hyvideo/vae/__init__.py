import json
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from ..constants import PRECISION_TO_TYPE, VAE_PATH


class VAE(nn.Linear):
    def __init__(self, **config):
        super().__init__(16, 3)
        self.config = SimpleNamespace(**config)

    @property
    def dtype(self):
        return self.weight.dtype

    def enable_tiling(self):
        pass

    def decode(self, latents, return_dict=True, generator=None):
        pixels = self(latents.movedim(1, -1)).movedim(-1, 1)
        for dim, times in ((2, 4), (3, 8), (4, 8)):
            pixels = pixels.repeat_interleave(times, dim)
        return (pixels[:, :, 3:],)


def load_vae(
    vae_type="884-16c-hy", vae_precision=None, sample_size=None, vae_path=None, logger=None, device=None
):
    path = vae_path or VAE_PATH[vae_type]
    vae = VAE(**json.loads(Path(path, "config.json").read_text()))
    vae.load_state_dict(torch.load(Path(path, "pytorch_model.pt"))["state_dict"])
    return vae.to(device, PRECISION_TO_TYPE[vae_precision]).requires_grad_(False), path, 8, 4
