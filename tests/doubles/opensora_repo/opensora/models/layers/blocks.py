import xformers.ops
from torch import nn


class Attention(nn.Module):
    """The original attends; a double need only mix."""

    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        return self.proj(x.roll(1, dims=1) + x.mean(dim=1, keepdim=True)).tanh()


class MultiHeadCrossAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_linear, self.kv_linear = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, x, cond, mask=None):
        batch, tokens, dim = x.shape
        q = self.q_linear(x).view(1, -1, self.heads, dim // self.heads)
        k, v = self.kv_linear(cond).view(1, -1, 2, self.heads, dim // self.heads).unbind(2)
        bias = xformers.ops.fmha.BlockDiagonalMask.from_seqlens([tokens] * batch, mask)
        return xformers.ops.memory_efficient_attention(q, k, v, p=0.0, attn_bias=bias).view(batch, -1, dim)
