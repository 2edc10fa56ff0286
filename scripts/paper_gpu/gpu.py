"""CUDA tensors without CUDA: PyTorch's own fake tensors, and true values kept beside those that are small."""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from scripts.paper_gpu.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

aten = torch.ops.aten
PART = "paper_part"  # attribute of a module: what the ledger calls its weights
GPU = torch.device("cuda", 0)
# Tensors up to so many elements carry their values: timesteps, schedules, masks of text.
MOST_VALUES = 1 << 14
# What is read of a tensor whose values nobody knows. With ones, every distance a cache measures is the same.
UNKNOWN = 1
CACHE = str(Path(__file__).parents[2] / "navicache_cli" / "cache")


class PaperGpu(TorchDispatchMode):
    """Inside a `with` block there is a GPU, which computes nothing and whose memory a ledger counts.

    Tensors on the CPU are fake too. Small ones have true values on both devices, as long as they come from
    such; reading another one gives `UNKNOWN`.

    Args:
        memory: of the GPU, in bytes.

    Attributes:
        ledger: counts.
        waits: how often the host waited for the GPU, by whether the cache or anybody else did.
    """

    def __init__(self, memory: int = 80 * 2**30) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.waits: Counter[str] = Counter()
        self._memory = memory
        self._stack = ExitStack()

    def __enter__(self) -> PaperGpu:
        _have_device_guard()
        self._stack.enter_context(_cuda_answers(self))
        self._stack.enter_context(_FirstGpu())
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._stack.enter_context(self._fake)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self._read(args[0])
        if func is aten.index.Tensor:
            args = (args[0], [place for one in args[1] for place in self._places(one)])
        elif func is aten.masked_select.default:
            return self._selected(*args)
        elif func is aten.equal.default or torch.Tag.dynamic_output_shape in func.tags:
            return self._by_values(func, args, kwargs)
        out = func(*args, **kwargs)
        if func is aten._to_copy.default and args[0].device.type == "cuda" and out.device.type == "cpu":
            self._wait()
        self._follow(func, args, kwargs, out)
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, FakeTensor) and tensor.device.type == "cuda":
                self.ledger.made(tensor)
        return out

    def _read(self, tensor: torch.Tensor) -> Any:
        """What `.item()` gives."""
        if tensor.device.type == "cuda":
            self._wait()
        value = value_of(tensor)
        with _disable_current_modes():
            return (torch.full((), UNKNOWN, dtype=tensor.dtype) if value is None else value).item()

    def read_list(self, tensor: torch.Tensor) -> Any:
        """What `.tolist()` gives: one wait, however many numbers."""
        if tensor.device.type == "cuda":
            self._wait()
        value = value_of(tensor)
        with _disable_current_modes():
            return (
                torch.full(tensor.shape, UNKNOWN, dtype=tensor.dtype) if value is None else value
            ).tolist()

    def _wait(self) -> None:
        """The host waits: for the cache if its code asked for it, not code that it calls."""
        frame = sys._getframe(1)
        while frame is not None and ("/torch/" in frame.f_code.co_filename or frame.f_globals is globals()):
            frame = frame.f_back
        ours = frame is not None and frame.f_code.co_filename.startswith(CACHE)
        self.waits["cache" if ours else "others"] += 1

    def _by_values(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation whose result's shape, or result, depends on values."""
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        device = tensors[0].device
        if any(one.device.type == "cuda" for one in tensors):
            self._wait()
        known = _on_values(func, args, kwargs)
        if known is None:
            raise RuntimeError(f"{func} reads values that are not known on paper")
        return tree_map(lambda one: self._made_of(one, device), known)

    def _places(self, index: torch.Tensor | None) -> Sequence[torch.Tensor | None]:
        """Numbers in the place of a mask in an index, for each of its dimensions: how many is then known."""
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            return [index]
        places: torch.Tensor = self._by_values(aten.nonzero.default, (index,), {})
        return places.unbind(1)

    def _selected(self, tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """As many elements as the mask has: what they are is not known."""
        places: torch.Tensor = self._by_values(aten.nonzero.default, (mask,), {})
        count = len(places) * torch.broadcast_shapes(tensor.shape, mask.shape).numel() // mask.numel()
        with self._fake:
            selected = torch.empty(count, dtype=tensor.dtype, device=tensor.device)
        if tensor.device.type == "cuda":
            self.ledger.made(selected)
        return selected

    def _made_of(self, value: Any, device: torch.device) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        with self._fake:
            fake = torch.empty(value.shape, dtype=value.dtype, device=device)
        if device.type == "cuda":
            self.ledger.made(fake)
        fake._value = value
        return fake

    def _follow(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Do on values what was done on fakes, where all are known and small."""
        outputs = [one for one in tree_flatten(out)[0] if isinstance(one, FakeTensor)]
        if not outputs or max(one.numel() for one in outputs) > MOST_VALUES:
            self._forget(func, args)
            return
        results = None if torch.Tag.nondeterministic_seeded in func.tags else _on_values(func, args, kwargs)
        if results is None and not func._schema.is_mutable and all(one.numel() == 1 for one in outputs):
            # A number measured on what nobody knows, to be read together with others that are known.
            with _disable_current_modes():
                results = [torch.full(one.shape, UNKNOWN, dtype=one.dtype) for one in outputs]
        if results is None:
            self._forget(func, args)
            return
        values = [one for one in tree_flatten(results)[0] if isinstance(one, torch.Tensor)]
        for fake, value in zip(outputs, values, strict=True):
            fake._value = value

    def _forget(self, func: Any, args: Any) -> None:
        """What an operation has written into holds values no more that are known."""
        if not func._schema.is_mutable:
            return
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for one in tree_flatten(given)[0]:
                    value = value_of(one)
                    if value is not None:
                        value.untyped_storage()._lost = True


def value_of(tensor: Any) -> torch.Tensor | None:
    """The true values of a tensor, on the CPU; None where they are not known."""
    if not isinstance(tensor, FakeTensor):
        return tensor if isinstance(tensor, torch.Tensor) else None
    value = getattr(tensor, "_value", None)
    return None if value is None or hasattr(value.untyped_storage(), "_lost") else value


class _UnknownError(Exception):
    """A tensor among the arguments has no known values."""


def _on_values(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operation on true values, or None."""

    def true(given: Any) -> Any:
        if isinstance(given, torch.device):
            return torch.device("cpu")
        if not isinstance(given, torch.Tensor):
            return given
        value = value_of(given)
        if value is None or value.numel() > MOST_VALUES:
            raise _UnknownError
        return value

    try:
        given = tree_map(true, (args, kwargs))
    except _UnknownError:
        return None
    with _disable_current_modes():
        try:
            return func(*given[0], **given[1])
        except (RuntimeError, NotImplementedError):  # No kernel on the CPU.
            return None


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


def _have_device_guard() -> None:
    """Give a torch without CUDA a guard for CUDA devices: that of the CPU, which does nothing.

    Autograd asks for one wherever it meets such a tensor, and ends the process if there is none.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    guards[1] = guards[1] or guards[0]  # in the order of c10::DeviceType: CPU, CUDA


class _FirstGpu(TorchFunctionMode):
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
def _cuda_answers(gpu: PaperGpu) -> Iterator[None]:
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
        name="a GPU on paper", total_memory=gpu._memory, major=9, minor=0, multi_processor_count=132
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
        "mem_get_info": lambda *_: (gpu._memory - gpu.ledger.live, gpu._memory),
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
