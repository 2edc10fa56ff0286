"""CUDA tensors without CUDA: PyTorch's own fake tensors, and true values kept beside those that are small."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from scripts.paper_gpu.cuda import FirstGpu, cuda_answers, have_device_guard
from scripts.paper_gpu.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
# Tensors up to so many elements carry their values: timesteps, schedules, masks of text; the largest is the
# mask of latents by which each token of Wan2.2's 5B has its timestep.
MOST_VALUES = 1 << 23
# What is read of a tensor whose values nobody knows. With ones, every distance a cache measures is the same.
UNKNOWN = 1
# How many of an operation's first arguments have to be of one type on a GPU; fakes do not ask.
ONE_TYPE = {
    aten.mm: 2,
    aten.addmm: 3,
    aten.bmm: 2,
    aten.baddbmm: 3,
    aten.convolution: 3,
    aten._scaled_dot_product_flash_attention: 3,
    aten._scaled_dot_product_efficient_attention: 3,
}
CACHE = str(Path(__file__).parents[2] / "navicache_cli" / "cache")
BENEATH = ("/torch/", str(Path(__file__).parent))  # whose frames ask for nothing themselves


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
        self.memory = memory
        self._stack = ExitStack()

    def __enter__(self) -> PaperGpu:
        have_device_guard()
        self._stack.enter_context(cuda_answers(self))
        self._stack.enter_context(FirstGpu())
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._stack.enter_context(self._fake)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _check_types(func, args)
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
        while frame is not None and any(place in frame.f_code.co_filename for place in BENEATH):
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


def _check_types(func: Any, args: Any) -> None:
    """What the kernel of a product checks.

    Raises:
        RuntimeError: its tensors are of several types.
    """
    count = ONE_TYPE.get(func.overloadpacket, 0)
    types = {one.dtype for one in args[:count] if isinstance(one, torch.Tensor)}
    if len(types) > 1:
        raise RuntimeError(f"{func} expects tensors of the same dtype, found {', '.join(map(str, types))}")


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
