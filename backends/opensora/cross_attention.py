"""What Open-Sora 1.2 uses of xformers, by PyTorch's own attention: for CPUs, and where xformers is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch.nn.functional import scaled_dot_product_attention

from navicache_cli.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BlockDiagonalMask:
    """Several samples in one sequence, each of which sees its own keys only.

    Attributes:
        queries, keys: tokens of each sample.
    """

    queries: list[int]
    keys: list[int]

    @classmethod
    def from_seqlens(
        cls, q_seqlen: Sequence[int], kv_seqlen: Sequence[int] | None = None
    ) -> BlockDiagonalMask:
        """As xformers' method of this name."""
        return cls(list(q_seqlen), list(q_seqlen if kv_seqlen is None else kv_seqlen))


def memory_efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: BlockDiagonalMask | None = None,
    p: float = 0.0,
) -> Tensor:
    """Attend as xformers.ops.memory_efficient_attention does.

    Source of the meaning: https://facebookresearch.github.io/xformers.

    Args:
        query: [B, M, H, K]; B is 1 if there is a mask.
        key, value: [B, N, H, K].
        attn_bias: which keys a query sees; None is all.
        p: probability of dropout.

    Returns:
        [B, M, H, K], contiguous.

    Raises:
        BackendError: a mask of another kind.
    """
    if attn_bias is None:
        attn_bias = BlockDiagonalMask([query.shape[1]], [key.shape[1]])
    if not isinstance(attn_bias, BlockDiagonalMask):
        raise BackendError(
            f"expected a block-diagonal mask, found {type(attn_bias).__name__}",
            "install xformers, or check out the tested commit of the repository",
        )
    query, key, value = (rearrange(x, "b l h c -> b h l c") for x in (query, key, value))
    samples = zip(
        query.split(attn_bias.queries, dim=2),
        key.split(attn_bias.keys, dim=2),
        value.split(attn_bias.keys, dim=2),
        strict=True,
    )
    out = [scaled_dot_product_attention(*sample, dropout_p=p) for sample in samples]
    return torch.cat([rearrange(x, "b h l c -> b l h c") for x in out], dim=1)


# In the place of the module `xformers`.
XFORMERS = SimpleNamespace(
    ops=SimpleNamespace(
        memory_efficient_attention=memory_efficient_attention,
        fmha=SimpleNamespace(BlockDiagonalMask=BlockDiagonalMask),
    )
)
