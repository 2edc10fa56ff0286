"""What driving an official pipeline takes in every family: the device, warnings, memory, and stages."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from backends.official.distributed import local_gpu
from backends.official.names import replaced
from navicache_cli.errors import BackendError, OutOfMemoryError, WeightsError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from backends.official.repositories import Official
    from backends.protocol import Stages
    from navicache_cli.plan.plan import Plan

# Words for --weights: random ones in the official size, or in a transformer small enough for tests and a CPU.
RANDOM, SMALL = "random", "random-small"


def find_device(title: str, weights: str, smallest: str = "--frames 5") -> torch.device:
    """Return this process's GPU, made the current one, or the CPU for the small random model.

    Args:
        title: the family's name for people.
        weights: the value of `--weights`.
        smallest: options of a video that a CPU makes in seconds, to recommend.

    Raises:
        BackendError: there is no GPU, which the official code needs, or not one for each process.
    """
    import torch

    if torch.cuda.is_available():
        # The official code names a device in some places, and takes the current one in others.
        return local_gpu()
    if weights == SMALL:
        return torch.device("cpu")
    raise BackendError(
        f"{title} expects an NVIDIA GPU, found none (torch {torch.__version__})",
        f"use --model tiny, or try the official code on this machine with --weights {SMALL} {smallest}",
    )


def noise_notes(weights: str, title: str, standins: str) -> list[str]:
    """Return what the user must know of random weights: nothing where the weights are real.

    Args:
        weights: the value of `--weights`.
        title: the family's name for people.
        standins: the parts that are replaced, such as "text encoder and VAE".
    """
    if weights not in (RANDOM, SMALL):
        return []
    size = ", in a small transformer of the official architecture" if weights == SMALL else ""
    return [
        f"RANDOM WEIGHTS{size}: THE PICTURE IS NOISE and shows nothing of {title}'s quality",
        f"{standins} are stand-ins: only the transformer's time and memory count",
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what official code of 2024 is warned of by newer packages: old names, and autocast on a CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*", category=UserWarning)
        yield


@contextmanager
def out_of_memory_hints(less_memory: str, plan: Plan | None = None) -> Iterator[None]:
    """Turn torch's error into one that says what lowers the family's memory.

    Args:
        less_memory: what to try.
        plan: what was to be generated; then the error says how much that was expected to take.
    """
    import torch

    from navicache_cli.plan.memory import about_memory, less_cache

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        expected, other = (about_memory(plan), less_cache(plan)) if plan else ("", "")
        cause = one_line(error, 160) + (f"; expected {expected}" if expected else "")
        hint = f"{other}; or {less_memory}" if other else less_memory
        raise OutOfMemoryError(f"the GPU ran out of memory: {cause}", hint) from error


@contextmanager
def weights_errors(what: str, hint: str) -> Iterator[None]:
    """Turn what official loaders raise into an error that says whose fault it is.

    Args:
        what: the weights, such as "the weights Wan2.1-T2V-1.3B in weights/".
        hint: what brings whole weights.

    Raises:
        BackendError: GPU or processes failed.
        OutOfMemoryError: memory did not suffice.
        WeightsError: the files are damaged.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        cause = one_line(error)
        words = cause.lower()
        if "allocate memory" in words or "out of memory" in words:
            raise OutOfMemoryError(
                f"memory ran out while loading: {cause}", "free some, and try again"
            ) from error
        if isinstance(error, RuntimeError) and any(word in words for word in _NOT_THE_WEIGHTS):
            raise BackendError(
                f"the GPU or the processes failed while loading: {cause}", "nvidia-smi"
            ) from error
        raise WeightsError(f"{what} cannot be loaded: {cause}", hint) from error


@contextmanager
def code_errors(official: Official) -> Iterator[None]:
    """Turn what official code raises that is not as this program knows it into an error that says so.

    Raises:
        BackendError: a name or parameter is not there.
    """
    try:
        yield
    except (AttributeError, TypeError, ImportError) as error:
        raise BackendError(
            f"the code of {official.title} does not fit the installed packages, or is another than that of "
            f"the tested commit {official.tested_commit[:7]}: {one_line(error)}",
            f"navicache doctor --model {official.name}, and navicache setup {official.setup}",
        ) from error


_NOT_THE_WEIGHTS = ("cuda error", "nccl", "processgroup", "distributed")


class _TorchLoadingTensorsOnly:
    """`torch` for modules that call torch.load: a file may hold tensors and nothing that runs."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is torch's."""
        import torch

        return getattr(torch, name)

    def load(self, *arguments: Any, **keywords: Any) -> Any:
        """Load with weights_only, which torch before 2.6 does not do by itself."""
        import torch

        return torch.load(*arguments, **{**keywords, "weights_only": True})


@contextmanager
def tensors_only(modules: Iterable[str]) -> Iterator[None]:
    """Let official modules that call torch.load refuse files with more than tensors.

    Args:
        modules: names of loaded modules.
    """
    with ExitStack() as stack:
        for name in modules:
            if hasattr(sys.modules[name], "torch"):  # Without that name it calls no torch.load.
                stack.enter_context(replaced(sys.modules[name], torch=_TorchLoadingTensorsOnly()))
        yield


@contextmanager
def timed(
    stages: Stages, transformers: Sequence[nn.Module], vae: Any, device: torch.device
) -> Iterator[None]:
    """Tell `stages` when, in one official call, a transformer is first called and the last step is over.

    Official offloading moves the whole transformer to the CPU after the last step, before the VAE decodes:
    with 14 B parameters 53 GiB in float32. That is no denoising; it counts for `decode`.

    Args:
        stages: told `text` at once, then `denoise`, `decode`, and the end.
        transformers: the official one, or several that take turns, the one that starts first; their `cpu` is
            wrapped meanwhile. Where one takes over, the official code moves them by `to`.
        vae: the official one; its `decode` is wrapped meanwhile.
        device: waited for at each change, if it is a GPU.
    """
    import torch

    decode = vae.decode

    def start(stage: str) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        stages.start(stage)

    def before_transformer(module: nn.Module, arguments: Any) -> None:
        hook.remove()
        start("denoise")

    def timed_decode(*arguments: Any, **keywords: Any) -> Any:
        start("decode")
        return decode(*arguments, **keywords)

    def timed_move(move_away: Callable[[], nn.Module]) -> nn.Module:
        start("decode")
        return move_away()

    hook = transformers[0].register_forward_pre_hook(before_transformer)
    stages.start("text")
    try:
        with ExitStack() as stack:
            stack.enter_context(replaced(vae, decode=timed_decode))
            for one in transformers:
                stack.enter_context(replaced(one, cpu=partial(timed_move, one.cpu)))
            yield
    finally:
        hook.remove()
        start("")
