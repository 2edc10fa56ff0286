import torch
import xformers.ops
from torch import nn


class Attention(nn.Module):
    """As the original has two branches, and imports flash-attn where it calls it."""

    def __init__(self, dim, num_heads, enable_flash_attn=False):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.enable_flash_attn = enable_flash_attn
        self.rope = False
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.LayerNorm(self.head_dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.num_heads, self.head_dim).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.enable_flash_attn and tokens > batch:
            from flash_attn import flash_attn_func

            out = flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=self.head_dim**-0.5)
        else:
            scores = torch.einsum("bqhc,bkhc->bhqk", q * self.head_dim**-0.5, k)
            out = torch.einsum("bhqk,bkhc->bqhc", scores.float().softmax(-1).to(v.dtype), v)
        return self.proj(out.reshape(batch, tokens, dim))


class MultiHeadCrossAttention(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.heads = num_heads
        self.q_linear, self.kv_linear = nn.Linear(d_model, d_model), nn.Linear(d_model, 2 * d_model)

    def forward(self, x, cond, mask=None):
        batch, tokens, dim = x.shape
        q = self.q_linear(x).view(1, -1, self.heads, dim // self.heads)
        k, v = self.kv_linear(cond).view(1, -1, 2, self.heads, dim // self.heads).unbind(2)
        bias = xformers.ops.fmha.BlockDiagonalMask.from_seqlens([tokens] * batch, mask)
        return xformers.ops.memory_efficient_attention(q, k, v, p=0.0, attn_bias=bias).view(batch, -1, dim)
