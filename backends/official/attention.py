"""Attention for repositories that call flash-attn directly, on machines without it.

The official code of Wan2.1 has one function, `flash_attention`, and calls it everywhere. `bind_attention`
puts the one below in its place in every loaded module that imported it, for the rest of the process.
"""

from __future__ import annotations

import inspect
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat
from torch.nn.functional import scaled_dot_product_attention

from backends.official.names import bind, loaded_modules
from navicache_cli.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NAME = "flash_attention"


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_lens: Tensor | Sequence[int] | None = None,
    k_lens: Tensor | Sequence[int] | None = None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    q_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    deterministic: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    version: int | None = None,
) -> Tensor:
    """Attend as flash-attn's `flash_attn_varlen_func` does behind Wan2.1's function of this name.

    Source of the meaning: Wan-Video/Wan2.1 wan/modules/attention.py and Dao-AILab/flash-attention 2.x. As
    there, `causal` and `window_size` are aligned to the last query and the last key of each sample, and a
    query that may see no key gives zeros.

    Args:
        q: [B, Lq, Nq, C1].
        k: [B, Lk, Nk, C1]; Nq is a multiple of Nk.
        v: [B, Lk, Nk, C2].
        q_lens, k_lens: valid tokens of each sample, the first ones; None is all. Queries beyond are zero in
            the result.
        dropout_p: probability.
        softmax_scale: factor of the logits; None is 1 / sqrt(C1).
        q_scale: an extra factor of q.
        causal: no query sees a later key.
        window_size: how many keys to the left and right a query sees; -1 is all.
        deterministic, version: for flash-attn's kernels, ignored.
        dtype: what other types than float16 and bfloat16 are rounded to on a GPU, as there. On a CPU,
            which has no such kernels to feed, nothing is rounded.

    Returns:
        [B, Lq, Nq, C2], of q's type.
    """
    batch, q_size, k_size, out_type = q.shape[0], q.shape[1], k.shape[1], q.dtype
    half = v.dtype if v.dtype in (torch.float16, torch.bfloat16) or v.device.type == "cpu" else dtype
    q, k, v = (rearrange(x, "b l n c -> b n l c").to(half) for x in (q, k, v))
    if q_scale is not None:
        q = q * q_scale
    if k.shape[1] != q.shape[1]:
        shared = q.shape[1] // k.shape[1]
        k, v = (repeat(x, "b n l c -> b (n shared) l c", shared=shared) for x in (k, v))

    def attend(samples: slice, nq: int, nk: int) -> Tensor:
        mask = _mask(nq, nk, causal, window_size, q.device)
        y = scaled_dot_product_attention(
            q[samples, :, :nq], k[samples, :, :nk], v[samples, :, :nk],
            attn_mask=mask, dropout_p=dropout_p, scale=softmax_scale,
        )  # fmt: skip
        return y if mask is None else y.where(mask.any(dim=1)[:, None], 0)

    # Samples of the same lengths go together: one call when nothing is ragged, and then no padding either.
    sizes = list(zip(_lengths(q_lens, batch, q_size), _lengths(k_lens, batch, k_size), strict=True))
    edges = [0, *(i for i in range(1, batch) if sizes[i] != sizes[i - 1]), batch]
    if len(edges) == 2 and sizes[0][0] == q_size and sizes[0][1] > 0:
        out = attend(slice(None), *sizes[0])
    else:
        out = q.new_zeros(batch, q.shape[1], q_size, v.shape[3])
        for start, end in pairwise(edges):
            nq, nk = sizes[start]
            if nq > 0 and nk > 0:
                out[start:end, :, :nq] = attend(slice(start, end), nq, nk)
    return rearrange(out, "b n l c -> b l n c").to(out_type)


def _lengths(lengths: Tensor | Sequence[int] | None, batch: int, size: int) -> list[int]:
    """Valid tokens of each sample. Reading a GPU tensor waits for it; Wan2.1's lengths are on the CPU."""
    if lengths is None:
        return [size] * batch
    numbers = lengths.tolist() if isinstance(lengths, torch.Tensor) else lengths
    return [min(int(number), size) for number in numbers]


def _mask(nq: int, nk: int, causal: bool, window: tuple[int, int], device: torch.device) -> Tensor | None:
    """Which keys [nk] each query [nq] sees, or None for all."""
    left, right = window
    if causal:
        right = 0
    if left < 0 and right < 0:
        return None
    # The last query stands at the last key.
    place = torch.arange(nq, device=device)[:, None] + (nk - nq)
    key = torch.arange(nk, device=device)[None]
    mask = torch.ones(nq, nk, dtype=torch.bool, device=device)
    if left >= 0:
        mask &= key >= place - left
    if right >= 0:
        mask &= key <= place + right
    return mask


def bind_attention(package: str, source: str) -> list[str]:
    """Put `flash_attention` in the place of the official one, unless flash-attn is there.

    It lasts for the process; see `names.bind`.

    Args:
        package: the loaded official package, such as `wan`.
        source: its module that defines the function and knows whether flash-attn is there.

    Returns:
        The names bound, as `module.name`; empty where flash-attn is there.

    Raises:
        BackendError: the official function is not there, or has parameters that this one does not know.
    """
    module = sys.modules.get(source)
    official = getattr(module, NAME, None)
    if module is None or official is None:
        raise BackendError(
            f"expected {source}.{NAME}, found none", "check out the tested commit of the repository"
        )
    if getattr(module, "FLASH_ATTN_2_AVAILABLE", False) or getattr(module, "FLASH_ATTN_3_AVAILABLE", False):
        return []
    expected, found = (set(inspect.signature(f).parameters) for f in (flash_attention, official))
    if found - expected:
        raise BackendError(
            f"expected {source}.{NAME} with parameters {', '.join(sorted(expected))}; "
            f"found also {', '.join(sorted(found - expected))}",
            "install flash-attn, or check out the tested commit of the repository",
        )
    users = [loaded for loaded in loaded_modules(package) if vars(loaded).get(NAME) is official]
    return [bind(loaded, flash_attention) for loaded in users]
