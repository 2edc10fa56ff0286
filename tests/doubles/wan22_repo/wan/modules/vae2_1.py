import torch
from torch import nn


class Wan2_1_VAE:  # noqa: N801 - as the original
    z_dim, side = 16, 8

    def __init__(self, z_dim=16, vae_pth="cache/vae_step_411000.pth", dtype=torch.float, device="cuda"):
        self.model = nn.Linear(z_dim, 3)
        self.model.load_state_dict(torch.load(vae_pth, map_location="cpu"))
        self.model.z_dim = z_dim
        self.model.requires_grad_(False).to(device)

    def decode(self, zs):
        videos = []
        for z in zs:
            pixels = self.model(z.movedim(0, -1)).movedim(-1, 0).clamp_(-1, 1)
            for dim, times in ((1, 4), (2, self.side), (3, self.side)):
                pixels = pixels.repeat_interleave(times, dim)
            videos.append(pixels[:, 3:])
        return videos
