"""Open-Sora's self-attention written out, for its replacement to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def self_attention(module: nn.Module, x: Tensor) -> Tensor:
    """Attend as an official module should: q, k and v as it makes them, all that follows in float64.

    Args:
        module: official, or the double's.
        x: [B, N, C].

    Returns:
        [B, N, C], float64.
    """
    batch, tokens, channels = x.shape
    shape = (batch, tokens, 3, module.num_heads, module.head_dim)
    q, k, v = module.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
    q, k = module.q_norm(q), module.k_norm(k)
    if module.rope:
        q, k = module.rotary_emb(q), module.rotary_emb(k)
    q, k, v = q.double(), k.double(), v.double()
    out = (q @ k.transpose(2, 3) / module.head_dim**0.5).softmax(-1) @ v
    out = out.transpose(1, 2).reshape(batch, tokens, channels)
    return out @ module.proj.weight.double().T + module.proj.bias.double()
