from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from videosys.core.distributed.parallel_mgr import ParallelManager


class OpenSoraAttention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class OpenSoraMultiHeadCrossAttention(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.kv_linear = nn.Linear(d_model, d_model)

    def forward(self, x, cond, mask=None):
        texts = self.kv_linear(cond).split(mask, dim=1)
        return torch.cat([text.mean(1, keepdim=True) for text in texts]).expand_as(x)


class STDiT3Block(nn.Module):
    def __init__(self, hidden_size, num_heads, temporal=False):
        super().__init__()
        self.temporal = temporal
        self.attn = OpenSoraAttention(hidden_size, num_heads)
        self.cross_attn = OpenSoraMultiHeadCrossAttention(hidden_size, num_heads)

    def forward(
        self, x, y, t, mask=None, x_mask=None, t0=None, T=None, S=None, timestep=None,  # noqa: N803
        all_timesteps=None,
    ):  # fmt: skip
        grid = (x * (1 + t[:, None])).unflatten(1, (T, S))
        grid = grid.transpose(1, 2) if self.temporal else grid
        mixed = self.attn(grid.flatten(0, 1)).view(grid.shape)
        mixed = mixed.transpose(1, 2) if self.temporal else mixed
        x = x + mixed.flatten(1, 2)
        return x + 0.1 * self.cross_attn(x, y, mask)


class STDiT3Config(SimpleNamespace):
    def __init__(self, **kwargs):
        defaults = {"in_channels": 4, "hidden_size": 48, "depth": 4, "num_heads": 4, "caption_channels": 4096}
        super().__init__(**{**defaults, "model_max_length": 300, "enable_flash_attn": False, **kwargs})


class CaptionEmbedder(nn.Module):
    def __init__(self, channels, dim, tokens):
        super().__init__()
        self.y_proj = nn.Linear(channels, dim)
        self.register_buffer("y_embedding", torch.randn(tokens, channels) / channels**0.5)


class STDiT3(nn.Module):
    config_class = STDiT3Config

    def __init__(self, config):
        super().__init__()
        self.depth, dim = config.depth, config.hidden_size
        self.x_embedder = nn.Linear(config.in_channels, dim)
        self.t_embedder = nn.Linear(3, dim)
        self.y_embedder = CaptionEmbedder(config.caption_channels, dim, config.model_max_length)
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(STDiT3Block(dim, config.num_heads, temporal) for _ in range(config.depth))
            for temporal in (False, True)
        )
        self.final_layer = nn.Linear(dim, 2 * config.in_channels)
        self.parallel_manager = None

    def enable_parallel(self, dp_size=None, sp_size=None, enable_cp=None):
        self.parallel_manager = ParallelManager(dp_size, 1, sp_size)

    def forward(
        self, x, timestep, y, all_timesteps=None, mask=None, x_mask=None, fps=None, height=None, width=None,
        **kwargs,
    ):  # fmt: skip
        assert self.parallel_manager.sp_size == 1
        batch, _, frames, rows, columns = x.shape
        facts = torch.stack([timestep / 1000, fps.repeat(batch) / 24, height.repeat(batch) / 512], dim=1)
        t = self.t_embedder(facts.to(x.dtype))
        lengths = mask.repeat(batch // mask.shape[0], 1)
        y = self.y_embedder.y_proj(y.to(x.dtype)).squeeze(1)[lengths > 0][None]
        size = (frames, rows * columns)
        hidden = self.x_embedder(x.flatten(2).transpose(1, 2))
        for i in range(self.depth):
            for block in (self.spatial_blocks[i], self.temporal_blocks[i]):
                hidden = block(hidden, y, t, lengths.sum(1).tolist(), x_mask, t, *size, timestep)
        out = self.final_layer(hidden + t[:, None])
        return out.transpose(1, 2).reshape(batch, -1, frames, rows, columns).float()
