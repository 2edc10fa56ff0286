"""The miniature denoiser: Wan2.1's text-to-video transformer at small size, with Wan2.1's parameter names.

Architecture and names follow `wan/modules/model.py` of Wan-Video/Wan2.1 (arXiv 2503.20314), so that the
checkpoint loads with strict key matching into the official `WanModel` and, after diffusers' own renaming,
into `diffusers.WanTransformer3DModel`. Only the text-to-video path is here.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

COORDINATES = 9  # channels that tell each latent where it stands: three for each of time, height and width


def sinusoidal_embedding(dim: int, position: Tensor) -> Tensor:
    """Embed positions [B] as [B, dim] float32: cosines first, then sines, base 10000, computed in float64."""
    half = dim // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=position.device) / half)
    angles = position.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def coordinates(shape: tuple[int, int, int]) -> Tensor:
    """Where each latent stands, [9, F, H, W] float32: cos(pi u), cos(2 pi u), cos(3 pi u) along each axis.

    u runs from 0 to 1 over time, height and width. Rotary embeddings tell only how far apart two tokens
    are, and in pure noise nothing else tells the left edge from the right, which a small model needs to know
    to start an object where its motion begins.
    """
    sizes = dict(zip("fhw", shape, strict=True))
    axes = []
    for axis, size in sizes.items():
        u = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        waves = torch.cos(torch.arange(1, 4, dtype=torch.float64)[:, None] * math.pi * u)
        axes.append(repeat(waves, f"wave {axis} -> wave f h w", **sizes))
    return torch.cat(axes).float()


def rotary_angles(head_dim: int, grid: tuple[int, int, int]) -> Tensor:
    """Angles [F*H*W, head_dim/2] (float64) of 3-D rotary embeddings; time gets what height, width leave."""
    spatial = 2 * (head_dim // 6)
    sizes = dict(zip("fhw", grid, strict=True))
    axes = []
    for (axis, size), dim in zip(sizes.items(), (head_dim - 2 * spatial, spatial, spatial), strict=True):
        frequencies = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.arange(size, dtype=torch.float64)[:, None] * frequencies
        axes.append(repeat(angles, f"{axis} angle -> (f h w) angle", **sizes))
    return torch.cat(axes, dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Split x [B, L, heads * head_dim] into heads and apply rotary embeddings: [B, heads, L, head_dim].

    Neighbouring channels form the rotated pairs; cos and sin are [L, 1, head_dim/2].
    """
    pairs = cos.shape[-1]
    even, odd = rearrange(x, "b l (h pair two) -> two b l h pair", pair=pairs, two=2)
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rearrange(rotated, "b l h pair two -> b h l (pair two)").type_as(x)


class RMSNorm(nn.Module):
    """Root-mean-square norm over all heads at once, in float32, with a learned scale."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x [..., dim]."""
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; self or cross by what it is called with."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def forward(self, x: Tensor, source: Tensor, rotary: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Attend from x [B, L, C] to source [B, S, C]; `rotary` is cos and sin, [L, 1, head_dim/2] each."""
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(source)), self.v(source)
        if rotary is None:
            q, k = (rearrange(t, "b l (h d) -> b h l d", h=self.heads) for t in (q, k))
        else:
            q, k = (rotate(t, *rotary) for t in (q, k))
        k, v = k.type_as(q), rearrange(v, "b l (h d) -> b h l d", h=self.heads).type_as(q)
        if self.training:
            # The backward of the fused kernel is several times slower than this on CPUs at these sizes.
            attended = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1).type_as(v) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v)
        return self.o(rearrange(attended, "b h l d -> b l (h d)"))


class Block(nn.Module):
    """One transformer block: self-attention, cross attention to the prompt, feed-forward; six modulations."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps, elementwise_affine=False)
        self.self_attn = Attention(dim, heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.cross_attn = Attention(dim, heads, eps)
        self.norm2 = nn.LayerNorm(dim, eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim)
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x: Tensor, e: Tensor, rotary: tuple[Tensor, Tensor], context: Tensor) -> Tensor:
        """Map x [B, L, C] to [B, L, C]; e [B, 6, C] float32 modulates, context [B, S, C] is the prompt."""
        # Shift, scale and gate, first of the self-attention, then of the feed-forward.
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + e).chunk(6, dim=1)
        attended = self.norm1(x) * (1 + scale) + shift
        x = x + self.self_attn(attended, attended, rotary) * gate
        x = x + self.cross_attn(self.norm3(x), context)
        return x + self.ffn(self.norm2(x) * (1 + ffn_scale) + ffn_shift) * ffn_gate


class Head(nn.Module):
    """Modulated norm and projection back to patches."""

    def __init__(self, dim: int, out_dim: int, patch_size: tuple[int, int, int], eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps, elementwise_affine=False)
        self.head = nn.Linear(dim, math.prod(patch_size) * out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Map x [B, L, C] and the time embedding e [B, C] to patches [B, L, prod(patch) * out_dim]."""
        shift, scale = (self.modulation + e[:, None]).chunk(2, dim=1)
        return self.head(self.norm(x) * (1 + scale) + shift)


class TinyWan(nn.Module):
    """Wan2.1's text-to-video transformer. Arguments are those of the official `config.json`."""

    def __init__(
        self,
        *,
        text_len: int = 24,
        in_dim: int = 16 + COORDINATES,
        dim: int = 192,
        ffn_dim: int = 768,
        freq_dim: int = 256,
        text_dim: int = 128,
        out_dim: int = 16,
        num_heads: int = 4,
        num_layers: int = 8,
        eps: float = 1e-6,
        patch_size: tuple[int, int, int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        self.config = {
            "model_type": "t2v", "text_len": text_len, "in_dim": in_dim, "dim": dim, "ffn_dim": ffn_dim,
            "freq_dim": freq_dim, "text_dim": text_dim, "out_dim": out_dim, "num_heads": num_heads,
            "num_layers": num_layers, "eps": eps, "patch_size": list(patch_size),
        }  # fmt: skip
        self.text_len, self.freq_dim, self.dim, self.out_dim = text_len, freq_dim, dim, out_dim
        self.head_dim = dim // num_heads
        self.patch_size = patch_size
        self.patch_embedding = nn.Conv3d(in_dim, dim, kernel_size=patch_size, stride=patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, ffn_dim, num_heads, eps) for _ in range(num_layers))
        self.head = Head(dim, out_dim, patch_size, eps)
        self._rotary: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for stack in (self.text_embedding, self.time_embedding):
            for layer in stack:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)
        for block in self.modules():
            if not isinstance(block, Block):
                continue
            # Normalised queries and keys bound the logits; at scale 1 they can hardly single out one token
            # of eighty, and training takes long to grow the scale.
            for norm in (block.self_attn.norm_q, block.self_attn.norm_k):
                nn.init.constant_(norm.weight, 1.5)

    def forward(
        self,
        x: list[Tensor],
        t: Tensor,
        context: list[Tensor],
        seq_len: int | None = None,
        *,
        y: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Predict the flow (noise - video) of each latent.

        Args:
            x: latents, each [C, F, H, W], all of one shape.
            t: timesteps [B] in [0, 1000].
            context: prompt vectors, each [L_i, text_dim], L_i <= text_len.
            seq_len: accepted for the official signature; latents of one shape need no padding.
            y: channels to append to each latent, [in_dim - C, F, H, W], the official argument of
                image-to-video; here it carries `coordinates`.

        Returns:
            One float32 tensor [C_out, F, H, W] for each latent.
        """
        if any(u.shape != x[0].shape for u in x):
            raise ValueError(f"latents of one shape expected, found {[tuple(u.shape) for u in x]}")
        if y is not None:
            x = [torch.cat(pair) for pair in zip(x, y, strict=True)]
        padded = [F.pad(u, (0, 0, 0, self.text_len - u.shape[0])) for u in context]
        return list(self.forward_batch(torch.stack(x), t, torch.stack(padded)).unbind())

    def forward_batch(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The forward on batched tensors: x [B, in_dim, F, H, W], t [B], context [B, text_len, text_dim]."""
        p, q, r = self.patch_size
        grid = (x.shape[2] // p, x.shape[3] // q, x.shape[4] // r)
        # Patches do not overlap, so the convolution is one matrix product; its backward is far quicker so.
        x = rearrange(x, "b c (f p) (h q) (w r) -> b (f h w) (c p q r)", p=p, q=q, r=r)
        x = F.linear(x, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
        with torch.autocast(x.device.type, enabled=False):  # time stays in float32, as in Wan2.1
            e = self.time_embedding(sinusoidal_embedding(self.freq_dim, t))
            e0 = rearrange(self.time_projection(e), "b (six c) -> b six c", six=6)
        context = self.text_embedding(context)
        rotary = self.rotary_for(grid, x.device)
        for block in self.blocks:
            x = block(x, e0, rotary, context)
        f, h, w = grid
        x = rearrange(
            self.head(x, e), "b (f h w) (p q r c) -> b c (f p) (h q) (w r)", f=f, h=h, w=w, p=p, q=q, r=r
        )
        return x.float()

    def rotary_for(self, grid: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin [F*H*W, 1, head_dim/2] for a grid of patches, computed once for each."""
        if grid not in self._rotary or self._rotary[grid][0].device != device:
            angles = rotary_angles(self.head_dim, grid)[:, None]
            self._rotary[grid] = (angles.cos().float().to(device), angles.sin().float().to(device))
        return self._rotary[grid]
