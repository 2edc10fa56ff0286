"""What a cache could leave behind on a pipeline, and the memory that tensors take."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import nn


def state_of(pipe: Any) -> dict[str, Any]:
    """Types and attribute names of a pipeline and all its parts, with the hooks of modules."""
    found: dict[str, Any] = {"": (type(pipe), sorted(vars(pipe)))}
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            for path, module in part.named_modules():
                found[f"{name}.{path}"] = _of_module(module)
        elif hasattr(part, "__dict__"):
            found[name] = (type(part), sorted(vars(part)))
    return found


def _of_module(module: nn.Module) -> tuple[Any, ...]:
    registry: Any = getattr(module, "_diffusers_hook", None)
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return (
        type(module),
        # diffusers itself makes empty registries, where it looks for hooks.
        sorted(set(vars(module)) - {"_diffusers_hook"}),
        module._compiled_call_impl,
        [len(kind) for kind in hooks],
        [] if registry is None else list(registry.hooks),
    )


def living_bytes() -> int:
    """Bytes of all tensors that Python holds, each storage once."""
    gc.collect()
    storages = {}
    for one in gc.get_objects():
        # Not isinstance, which would ask proxies and lazy modules for their class.
        if type(one) in (torch.Tensor, nn.Parameter) and not one.is_meta:
            storage = one.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
