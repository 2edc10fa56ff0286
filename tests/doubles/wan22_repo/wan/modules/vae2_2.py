import torch

from .vae2_1 import Wan2_1_VAE


class Wan2_2_VAE(Wan2_1_VAE):  # noqa: N801 - as the original
    side = 16

    def __init__(self, z_dim=48, vae_pth=None, dtype=torch.float, device="cuda"):
        super().__init__(z_dim, vae_pth, dtype, device)
