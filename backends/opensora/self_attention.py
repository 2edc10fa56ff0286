"""Self-attention of Open-Sora 1.2 by PyTorch's own kernels, on machines without flash-attn.

The official forward has two branches: one calls flash-attn, which it imports there and then; the other holds
the scores of all queries and keys at once, 25 GB at 720p. `bind_self_attention` lets the official forwards
take the first and find a stand-in of flash-attn: norms, rotary embedding and precision stay as they are.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

import torch

from backends.official.attention import flash_attention
from backends.official.names import bind
from navicache_cli.errors import BackendError

PACKAGE, KERNEL = "flash_attn", "flash_attn_func"
STANDIN = ModuleType(PACKAGE)
# Its arguments that the official code passes are the same: q, k, v, dropout_p and softmax_scale.
vars(STANDIN)[KERNEL] = flash_attention


def bind_self_attention(source: str) -> list[str]:
    """Let official forwards find a stand-in where they import flash-attn, unless that and a GPU are there.

    They take that branch where `enable_flash_attn` says so, but not for sequences no longer than the batch,
    whose scores are few. It lasts for the process; see `names.bind`.

    Args:
        source: the loaded official module with the classes.

    Returns:
        The forwards bound, as `class.forward`; empty where flash-attn is used.

    Raises:
        BackendError: no forward imports flash-attn's function.
    """
    if find_spec(PACKAGE) is not None and torch.cuda.is_available():
        return []
    kinds = [kind for kind in vars(sys.modules[source]).values() if isinstance(kind, type)]
    found = {kind: forward for kind in kinds if (forward := _forward_with_kernel(kind))}
    if not found:
        raise BackendError(
            f"expected {source} with a forward that imports {KERNEL}, found none",
            "install flash-attn, or check out the tested commit of the repository",
        )
    return [bind(kind, _with_standin(forward)) for kind, forward in found.items()]


def _forward_with_kernel(kind: type) -> Callable[..., Any] | None:
    """The official forward that a class defines itself, if it imports the kernel."""
    own = vars(kind).get("forward")
    if not isinstance(own, FunctionType):
        return None
    forward = inspect.unwrap(own)  # Of one that is bound already, the official one.
    return forward if KERNEL in forward.__code__.co_names else None


def _with_standin(official: Callable[..., Any]) -> Callable[..., Any]:
    """The official forward, with the stand-in among the loaded modules as long as it runs.

    No longer: other packages ask for flash-attn too, and would take this for all of it.
    """

    @wraps(official)
    def forward(*arguments: Any, **keywords: Any) -> Any:
        before = sys.modules.get(PACKAGE)
        sys.modules[PACKAGE] = STANDIN
        try:
            return official(*arguments, **keywords)
        finally:
            if before is None:
                del sys.modules[PACKAGE]
            else:
                sys.modules[PACKAGE] = before

    return forward
