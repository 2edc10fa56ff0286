"""What driving an official pipeline takes in every family: the device, warnings, memory, and stages."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import BackendError, OutOfMemoryError

from .distributed import local_gpu
from .names import replaced

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .protocol import Stages

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
def out_of_memory_hints(less_memory: str) -> Iterator[None]:
    """Turn torch's error into one that says what lowers the family's memory."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = str(error).splitlines()[0][:160]
        raise OutOfMemoryError(f"the GPU ran out of memory: {cause}", less_memory) from error


@contextmanager
def timed(stages: Stages, transformer: nn.Module, vae: Any, device: torch.device) -> Iterator[None]:
    """Tell `stages` when, in one official call, the transformer is first called and the VAE decodes.

    Args:
        stages: told `text` at once, then `denoise`, `decode`, and the end.
        transformer: the official one.
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

    hook = transformer.register_forward_pre_hook(before_transformer)
    stages.start("text")
    try:
        with replaced(vae, decode=timed_decode):
            yield
    finally:
        hook.remove()
        start("")
