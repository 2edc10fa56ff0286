import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

from opensora.models.layers.blocks import Attention, MultiHeadCrossAttention
from opensora.registry import MODELS


class STDiT3Block(nn.Module):
    def __init__(self, hidden_size, num_heads, temporal, enable_flash_attn):
        super().__init__()
        self.temporal = temporal
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(6, hidden_size) / hidden_size**0.5)
        self.attn = Attention(hidden_size, num_heads, enable_flash_attn)
        self.cross_attn = MultiHeadCrossAttention(hidden_size, num_heads)

    def forward(self, x, y, t, mask=None, x_mask=None, t0=None, T=None, S=None):  # noqa: N803
        batch, _, dim = x.shape
        shift, scale, gate = (self.scale_shift_table + t.unflatten(1, (6, dim))).chunk(6, dim=1)[:3]
        grid = (self.norm1(x) * (1 + scale) + shift).view(batch, T, S, dim)
        grid = grid.transpose(1, 2) if self.temporal else grid
        mixed = self.attn(grid.reshape(-1, grid.shape[2], dim)).view(grid.shape)
        mixed = mixed.transpose(1, 2) if self.temporal else mixed
        x = x + gate * mixed.reshape(batch, T * S, dim)
        return x + 0.1 * self.cross_attn(x, y, mask)


class STDiT3Config(SimpleNamespace):
    def __init__(self, **settings):
        defaults = {"in_channels": 4, "hidden_size": 48, "depth": 4, "num_heads": 4, "caption_channels": 4096}
        super().__init__(**{**defaults, "model_max_length": 300, "enable_flash_attn": False, **settings})


class CaptionEmbedder(nn.Module):
    def __init__(self, channels, dim, tokens):
        super().__init__()
        self.y_proj = nn.Linear(channels, dim)
        self.register_buffer("y_embedding", torch.randn(tokens, channels) / channels**0.5)


class STDiT3(nn.Module):
    config_class = STDiT3Config

    def __init__(self, config):
        super().__init__()
        self.config, dim = config, config.hidden_size
        self.x_embedder = nn.Linear(config.in_channels, dim)
        self.t_embedder = nn.Linear(3, dim)
        self.t_block = nn.Linear(dim, 6 * dim)
        self.y_embedder = CaptionEmbedder(config.caption_channels, dim, config.model_max_length)
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(
                STDiT3Block(dim, config.num_heads, temporal, config.enable_flash_attn)
                for _ in range(config.depth)
            )
            for temporal in (False, True)
        )
        self.final_layer = nn.Linear(dim, 2 * config.in_channels)

    @classmethod
    def from_pretrained(cls, folder, **settings):
        config = json.loads((Path(folder) / "config.json").read_text())
        model = cls(cls.config_class(**{**config, **settings}))
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model

    def forward(self, x, timestep, y, mask=None, x_mask=None, fps=None, height=None, width=None, **_):
        batch, _, frames, rows, columns = x.shape
        x = x.to(self.x_embedder.weight.dtype)
        facts = torch.stack([timestep / 1000, fps.repeat(batch) / 24, height.repeat(batch) / 512], dim=1)
        t = self.t_embedder(facts.to(x.dtype))
        lengths = mask.repeat(batch // mask.shape[0], 1)
        modulation = self.t_block(t)
        y = self.y_embedder.y_proj(y.to(x.dtype)).squeeze(1)[lengths > 0][None]
        size = {"T": frames, "S": rows * columns}
        hidden = self.x_embedder(x.flatten(2).transpose(1, 2))
        for spatial_block, temporal_block in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            hidden = spatial_block(hidden, y, modulation, lengths.sum(1).tolist(), x_mask, **size)
            hidden = temporal_block(hidden, y, modulation, lengths.sum(1).tolist(), x_mask, **size)
        out = self.final_layer(hidden + t[:, None])
        return out.transpose(1, 2).reshape(batch, -1, frames, rows, columns).float()


@MODELS.register_module("STDiT3-XL/2")
def make(from_pretrained=None, **settings):
    return STDiT3.from_pretrained(from_pretrained, **settings)
