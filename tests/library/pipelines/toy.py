"""What a row of the table of toy pipelines holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

PROMPT = "a red circle moving right"
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Toy:
    """One pipeline of diffusers at toy size.

    `build` makes it, with the same random weights each time. `arguments` makes what its call is given: a
    small video, with the guidance that the model is used with. `unguided` replaces what turns guidance off;
    `wider` is another resolution. `has` says what it stands for; `stops` names the calls of
    `pipelines/calls.py` that diffusers itself stops at, with its message.
    """

    name: str
    build: Callable[[], Any]
    arguments: Callable[[], Arguments]
    unguided: Arguments = field(default_factory=lambda: {"guidance_scale": 1.0})
    wider: Arguments = field(default_factory=lambda: {"width": 32})
    has: frozenset[str] = frozenset()
    stops: dict[str, str] = field(default_factory=dict)
    steps: int = 8

    def __str__(self) -> str:
        return self.name


def seeded(pipeline_class: Any, make_components: Callable[[], Arguments]) -> Any:
    """A pipeline of these components: the same random weights each time, in evaluation mode."""
    torch.manual_seed(0)
    pipe = pipeline_class(**make_components())
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    for module in denoisers(pipe):
        _fill_zeros(module)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def _fill_zeros(module: torch.nn.Module) -> None:
    """Give random values to weights that start as zeros, such as those of gates, so that blocks matter."""
    for weight in module.parameters():
        if weight.ndim > 1 and not weight.any():
            weight.normal_(std=0.1)


def run(toy: Toy, pipe: Any, *, steps: int | None = None, seed: int = 0, **changes: Any) -> torch.Tensor:
    """Call the pipeline once; what it makes as one tensor (of LTX2: the video, then the sound)."""
    arguments = toy.arguments()
    if "prompt" in arguments:
        arguments["prompt"] = PROMPT
    if "max_sequence_length" in inspect.signature(pipe.__call__).parameters:
        arguments.setdefault("max_sequence_length", 32)
    arguments.update(
        num_inference_steps=steps or toy.steps,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
        return_dict=False,
    )
    arguments.update(changes)
    torch.manual_seed(seed)  # Some schedulers are not given the generator.
    return flat(pipe(**arguments))


def flat(made: Any) -> torch.Tensor:
    """Every tensor in what a pipeline returned, end to end."""
    if isinstance(made, torch.Tensor):
        return made.detach().reshape(-1).float()
    if isinstance(made, Iterable):
        return torch.cat([flat(part) for part in made if part is not None])
    return torch.from_numpy(made).reshape(-1).float()


def denoisers(pipe: Any) -> list[torch.nn.Module]:
    """What denoises in a pipeline: a transformer, two experts, or a U-Net."""
    named = (getattr(pipe, name, None) for name in ("transformer", "transformer_2", "unet"))
    return [module for module in named if module is not None]


def blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The transformer blocks: the members of its longest lists of modules, nested ones left out."""
    lists = [child for child in module.children() if isinstance(child, torch.nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


class Count:
    """Counts the runs of every block of a pipeline's transformers while it is open."""

    def __init__(self, pipe: Any) -> None:
        self.runs = 0
        self.pipe = pipe

    def _ran(self, *_: Any) -> None:
        self.runs += 1

    def __enter__(self) -> Count:
        inside = [block for module in denoisers(self.pipe) for block in blocks(module)]
        self._hooks = [block.register_forward_pre_hook(self._ran) for block in inside]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()
