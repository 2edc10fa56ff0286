"""Attention over packed sequences of different lengths, on machines without flash-attn.

HunyuanVideo packs, sample after sample, a segment of video tokens with the valid text tokens and a segment of
the text's padding, and has `flash_attn_varlen_func` attend inside each. `bind_varlen_attention` puts the
one below in its place where flash-attn is absent, for the rest of the process.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from backends.official.attention import flash_attention
from backends.official.names import bind, loaded_modules
from navicache_cli.errors import BackendError

KERNEL, LENGTHS = "flash_attn_varlen_func", "get_cu_seqlens"


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor | Sequence[int],
    cu_seqlens_k: Tensor | Sequence[int],
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """Attend inside each segment of packed sequences, as flash-attn's function of this name does.

    Source of the meaning: Dao-AILab/flash-attention 2.x, flash_attn_interface.py.

    Args:
        q: [total queries, Nq, C1].
        k: [total keys, Nk, C1]; Nq is a multiple of Nk.
        v: [total keys, Nk, C2].
        cu_seqlens_q, cu_seqlens_k: segments + 1 rising numbers from 0: where each segment starts and ends.
            Queries beyond the last are zero in the result, as are those of a segment without keys. Numbers on
            a GPU are waited for; `get_cu_seqlens` below gives them on the CPU.
        max_seqlen_q, max_seqlen_k: the longest segments; for flash-attn's kernels, ignored.
        dropout_p, softmax_scale, causal, window_size: as of `attention.flash_attention`, for each segment.

    Returns:
        [total queries, Nq, C2], of q's type.
    """
    out = q.new_zeros(q.shape[0], q.shape[1], v.shape[2])
    for (q_start, q_end), (k_start, k_end) in zip(
        pairwise(_numbers(cu_seqlens_q)), pairwise(_numbers(cu_seqlens_k)), strict=True
    ):
        if q_start < q_end and k_start < k_end:
            out[q_start:q_end] = flash_attention(
                q[None, q_start:q_end], k[None, k_start:k_end], v[None, k_start:k_end],
                dropout_p=dropout_p, softmax_scale=softmax_scale, causal=causal, window_size=window_size,
            )[0]  # fmt: skip
    return out


def get_cu_seqlens(text_mask: Tensor, img_len: int) -> Tensor:
    """Say where the segments start that HunyuanVideo's attention keeps apart.

    A sample is `img_len` video tokens and the text; its first segment ends after the valid text tokens, its
    second at its end. The official function makes the same numbers, but on a GPU that must be there; here
    they are on the CPU, so that reading them for every block costs at most one wait per forward.

    Args:
        text_mask: [B, text tokens], 1 where valid; the valid ones come first.
        img_len: video tokens of a sample.

    Returns:
        int32 [2 B + 1] on the CPU.
    """
    size = img_len + text_mask.shape[1]
    starts = torch.arange(text_mask.shape[0], dtype=torch.int32) * size
    valid = text_mask.sum(dim=1).to("cpu", torch.int32)
    ends = torch.stack([starts + img_len + valid, starts + size], dim=1).flatten()
    return torch.cat([torch.zeros(1, dtype=torch.int32), ends])


def bind_varlen_attention(package: str, source: str) -> list[str]:
    """Put both functions in the place of the official ones, unless flash-attn and a GPU for it are there.

    It lasts for the process; see `names.bind`.

    Args:
        package: the loaded official package, such as `hyvideo`.
        source: its module with `get_cu_seqlens`, and with `flash_attn_varlen_func`, which is None where
            flash-attn could not be imported.

    Returns:
        The names bound, as `module.name`; empty where flash-attn is used.

    Raises:
        BackendError: a name is not there, or the lengths are made from other parameters.
    """
    module = sys.modules.get(source)
    missing = [name for name in (KERNEL, LENGTHS) if not hasattr(module, name)]
    if missing:
        raise BackendError(
            f"expected {source} with {KERNEL} and {LENGTHS}, found no {' and no '.join(missing)}",
            "check out the tested commit of the repository",
        )
    official = vars(module)[LENGTHS]
    if vars(module)[KERNEL] is not None and torch.cuda.is_available():
        return []
    expected, found = (list(inspect.signature(f).parameters) for f in (get_cu_seqlens, official))
    if found != expected:
        raise BackendError(
            f"expected {source}.{LENGTHS} with parameters {', '.join(expected)}; found {', '.join(found)}",
            "install flash-attn, or check out the tested commit of the repository",
        )
    bound = []
    for loaded in loaded_modules(package):
        if vars(loaded).get(LENGTHS) is official:
            bound.append(bind(loaded, get_cu_seqlens))
        if loaded is module or KERNEL in vars(loaded):
            bound.append(bind(loaded, flash_attn_varlen_func))
    return bound


def _numbers(lengths: Tensor | Sequence[int]) -> list[int]:
    return lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
