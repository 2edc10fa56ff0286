"""`tiny` with its denoiser in diffusers' own class: what caches of other libraries can be switched on in.

Sampler, noise, text encoder, codec and weights are `tiny`'s; only `TinyWan` gives way to
`diffusers.WanTransformer3DModel`. Needs diffusers: `pip install 'navicache[peers]'`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backends.protocol import Stages
from backends.tiny.model import TinyWan

if TYPE_CHECKING:
    from backends.tiny.backend import TinyPipeline
    from navicache_cli.plan.plan import Plan

BRANCHES = ("cond", "uncond")  # what diffusers' own pipelines call them


class Twin:
    """A pipeline for any number of generations.

    Args:
        pipeline: whose weights, sampler and codec it has.
        apart: whether each branch of the guidance has a model of its own, for a cache that keeps no state for
            each; otherwise both are run by one model, each in a cache context of its own.

    Attributes:
        models: diffusers' models, which share the pipeline's weights.
        timestep: of the forward that runs, as the model is told it.
        after_forward: called after each forward with the number of its branch, 0 or 1.
    """

    def __init__(self, pipeline: TinyPipeline, apart: bool = False) -> None:
        self.models = [diffusers_model(pipeline.transformer) for _ in range(1 + apart)]
        self.timestep = 0
        self.after_forward: Callable[[int], None] = lambda branch: None
        self._pipeline = copy.copy(pipeline)
        self._pipeline.transformer = _Denoiser(self, pipeline.transformer)  # type: ignore[assignment]

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        return self._pipeline.generate(plan, stages)


class _Denoiser:
    """Called as `TinyWan` is, answered by diffusers."""

    def __init__(self, twin: Twin, original: TinyWan) -> None:
        self.patch_size = original.patch_size
        self._text_len = original.text_len
        self._twin = twin
        self._step: Tensor | None = None

    def __call__(
        self, x: list[Tensor], t: Tensor, context: list[Tensor], seq_len: int, *, y: list[Tensor]
    ) -> list[Tensor]:
        """See `TinyWan.forward`; one latent at a time, as the sampler has it."""
        # The sampler hands the same tensor to both branches of a step, the prompt's first.
        branch = int(t is self._step)
        self._step = t
        self._twin.timestep = int(t.item())
        model: Any = self._twin.models[branch % len(self._twin.models)]
        hidden = torch.cat([x[0], y[0]])[None]
        text = F.pad(context[0], (0, 0, 0, self._text_len - context[0].shape[0]))[None]
        with model.cache_context(BRANCHES[branch]):
            flow: Tensor = model(hidden, t, text, return_dict=False)[0]
        self._twin.after_forward(branch)
        return list(flow.float())


def diffusers_model(transformer: TinyWan) -> nn.Module:
    """A `diffusers.WanTransformer3DModel` that shares the weights of `transformer`."""
    from diffusers import WanTransformer3DModel

    model: Any = WanTransformer3DModel(**diffusers_config(transformer))
    model.load_state_dict(diffusers_weights(transformer), strict=True, assign=True)
    device = next(transformer.parameters()).device
    ready: nn.Module = model.to(device).eval().requires_grad_(False)
    return ready


def diffusers_config(transformer: TinyWan) -> dict[str, Any]:
    """The arguments of `diffusers.WanTransformer3DModel` for a transformer like this."""
    config = transformer.config
    return {
        "patch_size": transformer.patch_size,
        "num_attention_heads": config["num_heads"],
        "attention_head_dim": transformer.head_dim,
        "in_channels": config["in_dim"],
        "out_channels": config["out_dim"],
        "text_dim": config["text_dim"],
        "freq_dim": config["freq_dim"],
        "ffn_dim": config["ffn_dim"],
        "num_layers": config["num_layers"],
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": config["eps"],
    }


def diffusers_weights(transformer: TinyWan) -> dict[str, Tensor]:
    """The same tensors under the names that diffusers gives them."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    renamed: dict[str, Tensor] = convert_wan_transformer_to_diffusers(dict(transformer.state_dict()))
    return renamed
