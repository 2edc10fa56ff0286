import json
from pathlib import Path

import torch
import torch.cuda.amp as amp
from safetensors.torch import load_file
from torch import nn

from .attention import flash_attention


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x, seq_lens):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return flash_attention(q, k, v, k_lens=seq_lens, window_size=(-1, -1)).flatten(2)


class CrossAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qk = nn.Linear(dim, dim)

    def forward(self, x, context):
        q, k = (self.qk(part).unflatten(-1, (self.heads, -1)) for part in (x, context))
        return flash_attention(q, k, k, k_lens=None).flatten(2)


class Block(nn.Module):
    def __init__(self, dim, ffn_dim, num_heads):
        super().__init__()
        self.self_attn = SelfAttention(dim, num_heads)
        self.cross_attn = CrossAttention(dim, num_heads)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(), nn.Linear(ffn_dim, dim))

    def forward(self, x, e, seq_lens, context):
        shift, scale, gate = e.unbind(1)[:3]
        x = x + gate * self.self_attn(x * (1 + scale) + shift, seq_lens)
        x = x + self.cross_attn(x, context)
        return x + self.ffn(nn.functional.layer_norm(x, x.shape[-1:]))


class WanModel(nn.Module):
    def __init__(
        self, model_type="t2v", text_len=512, in_dim=16, dim=2048, ffn_dim=8192, freq_dim=256, text_dim=4096,
        out_dim=16, num_heads=16, num_layers=32,
    ):  # fmt: skip
        super().__init__()
        self.model_type, self.dim = model_type, dim
        self.patch_embedding = nn.Conv3d(in_dim, dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Linear(text_dim, dim)
        self.picture_embedding = nn.Linear(1280, dim)
        self.time_embedding = nn.Linear(1, 6 * dim)
        self.blocks = nn.ModuleList(Block(dim, ffn_dim, num_heads) for _ in range(num_layers))
        self.head = nn.Linear(dim, 4 * out_dim)
        nn.init.zeros_(self.head.weight)

    @classmethod
    def from_pretrained(cls, folder):
        config = json.loads(Path(folder, "config.json").read_text())
        model = cls(**{key: value for key, value in config.items() if not key.startswith("_")})
        model.load_state_dict(load_file(Path(folder, "diffusion_pytorch_model.safetensors")))
        return model

    def forward(self, x, t, context, seq_len, clip_fea=None, y=None):
        if self.model_type != "t2v":
            assert clip_fea is not None
            assert y is not None
        if y is not None:
            x = [torch.cat([u, v], dim=0) for u, v in zip(x, y, strict=True)]
        (u,) = x
        with amp.autocast(dtype=torch.float32):
            e = self.time_embedding(t.float()[:, None] / 1000).unflatten(1, (6, self.dim))
        u = self.patch_embedding(u[None])
        frames, height, width = u.shape[2:]
        tokens = u.flatten(2).transpose(1, 2)
        # The last token is padding, which the key lengths leave out.
        padding = tokens.new_zeros(1, seq_len - tokens.shape[1] + 1, tokens.shape[2])
        lengths = torch.tensor([tokens.shape[1]])
        text = self.text_embedding(context[0][None])
        if clip_fea is not None:
            text = torch.cat([self.picture_embedding(clip_fea).flatten(0, 1)[None], text], dim=1)
        h = torch.cat([tokens, padding], dim=1)
        for block in self.blocks:
            h = block(h, e=e, seq_lens=lengths, context=text)
        h = self.head(nn.functional.layer_norm(h[:, : tokens.shape[1]], h.shape[-1:]))
        h = h.view(frames, height, width, 2, 2, -1).permute(5, 0, 1, 3, 2, 4)
        return [h.reshape(-1, frames, 2 * height, 2 * width).float()]
