"""What a torch without CUDA lacks: answers of `torch.cuda`, a device guard, the current GPU, its kernels."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.paper_gpu.gpu import PaperGpu
    from scripts.paper_gpu.ledger import Ledger

aten = torch.ops.aten
PART = "paper_part"  # attribute of a module: what the ledger calls its weights
GPU = torch.device("cuda", 0)


def _move(ledger: Ledger) -> Callable[..., nn.Module]:
    """`nn.Module._apply` for fakes, which cannot be changed in place; it tells whose weights move."""

    def apply(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        changed: dict[int, torch.Tensor] = {}  # Some are in a module twice.
        ledger.moving = getattr(module, PART, "weights")
        with torch.no_grad():
            for owner in module.modules() if recurse else [module]:
                for name, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
                    if tensor is None:
                        continue
                    if id(tensor) not in changed:
                        new = change(tensor)
                        is_weight = isinstance(tensor, nn.Parameter)
                        changed[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_weight else new
                    holder = owner._parameters if name in owner._parameters else owner._buffers
                    holder[name] = changed[id(tensor)]
                    del tensor
        ledger.moving = ""
        return module

    return apply


def _set_weight(
    module: nn.Module, name: str, device: Any, value: torch.Tensor | None = None, **_: Any
) -> None:
    """Accelerate's `set_module_tensor_to_device` for fakes: what waits for its turn is on the CPU."""
    is_weight = name in module._parameters
    holder: dict[str, Any] = module._parameters if is_weight else module._buffers
    tensor = holder[name] if value is None else value
    new = tensor.to("cpu" if torch.device(device).type == "meta" else device)
    holder[name] = nn.Parameter(new, requires_grad=False) if is_weight else new


@contextmanager
def layers_move() -> Iterator[None]:
    """Let diffusers' offloading layer by layer, which asks accelerate, do so on paper."""
    with (
        patch("diffusers.pipelines.pipeline_utils.get_device", lambda: GPU.type),
        patch("accelerate.hooks.set_module_tensor_to_device", _set_weight),
    ):
        yield


def have_device_guard() -> None:
    """Give a torch without CUDA a guard for CUDA devices: that of the CPU, which does nothing.

    Autograd asks for one wherever it meets such a tensor, and ends the process if there is none.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    guards[1] = guards[1] or guards[0]  # in the order of c10::DeviceType: CPU, CUDA


class FirstGpu(TorchFunctionMode):
    """Chooses what a torch without CUDA cannot: the current GPU, and kernels of attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention and args[0].device.type == "cuda":
            return _attend(*args, **(kwargs or {}))
        if func is torch.Tensor.cuda:
            return args[0].to(GPU)
        if func is torch.device and len(args) + len(kwargs or {}) > 1:
            return func(*args, **(kwargs or {}))
        if func is torch.tensor and isinstance(args[0], list | tuple):
            # Numbers on the GPU among them are read one by one.
            args = (
                tree_map(lambda one: one.item() if isinstance(one, torch.Tensor) else one, args[0]),
                *args[1:],
            )
        args = tuple(map(_with_index, args))
        kwargs = {name: _with_index(value) for name, value in (kwargs or {}).items()}
        return func(*args, **kwargs)


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """What torch's attention makes on a GPU: by its flash kernel, or by the memory-efficient one."""
    if torch.is_autocast_enabled("cuda"):
        q, k, v = (one.to(torch.get_autocast_dtype("cuda")) for one in (q, k, v))
    if attn_mask is None and q.dtype in (torch.float16, torch.bfloat16):
        out: torch.Tensor = aten._scaled_dot_product_flash_attention(
            q, k, v, dropout_p, is_causal, scale=scale
        )[0]
        return out
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*q.shape[:-1], k.shape[-2])
    out = aten._scaled_dot_product_efficient_attention(
        q, k, v, attn_mask, False, dropout_p, is_causal, scale=scale
    )[0]
    return out


def _with_index(given: Any) -> Any:
    if isinstance(given, str):
        return "cuda:0" if given == "cuda" else given
    return GPU if isinstance(given, torch.device) and given == torch.device("cuda") else given


class _Generator(torch.Generator):
    """One for any device: no number of it is looked at."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


class _Event:
    """Marks a moment of which nobody asks how long it took."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: Any) -> float:
        return 1.0


@contextmanager
def cuda_answers(gpu: PaperGpu) -> Iterator[None]:
    """Let `torch.cuda` answer as where there is one GPU, and `nn.Module` tell whose weights it moves."""
    nothing = {
        name: lambda *_, **__: None
        for name in (
            "synchronize",
            "empty_cache",
            "ipc_collect",
            "set_device",
            "manual_seed",
            "manual_seed_all",
            "reset_peak_memory_stats",
            "set_rng_state",
            "init",
            "_lazy_init",
        )
    }
    properties = SimpleNamespace(
        name="a GPU on paper", total_memory=gpu.memory, major=9, minor=0, multi_processor_count=132
    )
    answers = {
        **nothing,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: properties.name,
        "get_device_properties": lambda *_: properties,
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda *_, **__: True,
        "get_rng_state": lambda *_: torch.empty(0),
        "current_stream": lambda *_: None,
        "Event": _Event,
        "max_memory_allocated": lambda *_: max(peak.total for peak in gpu.ledger.peaks.values()),
        "mem_get_info": lambda *_: (gpu.memory - gpu.ledger.live, gpu.memory),
    }
    with (
        patch.multiple(torch.cuda, **answers),
        # Tensors made from numbers are not to be moved to a device that is not there.
        patch.object(FakeTensorMode, "avoid_device_init", True),
        patch.object(torch, "Generator", _Generator),
        patch.object(nn.Module, "_apply", _move(gpu.ledger)),
        patch.object(FakeTensor, "tolist", lambda tensor: gpu.read_list(tensor)),
    ):
        yield
