"""`tiny` with its denoiser in diffusers' own class: what caches of other libraries can be switched on in.

Sampler, noise, text encoder, codec and weights are `tiny`'s; only `TinyWan` gives way to
`diffusers.WanTransformer3DModel`. Needs diffusers: `pip install 'navicache[peers]'`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backends.protocol import Stages
from backends.tiny.model import TinyWan
from backends.tiny.solvers import Solver, make_solver

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
    """

    def __init__(self, pipeline: TinyPipeline, apart: bool = False) -> None:
        self.models = [diffusers_model(pipeline.transformer) for _ in range(1 + apart)]
        self._denoiser = _Denoiser(self.models, pipeline.transformer)
        self._pipeline = copy.copy(pipeline)
        self._pipeline.transformer = self._denoiser  # type: ignore[assignment]

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """See `TinyPipeline.generate`."""
        self._denoiser.start(make_solver(plan.solver, plan.steps, plan.shift))
        return self._pipeline.generate(plan, stages)


class _Denoiser:
    """Called as `TinyWan` is, answered by diffusers, which is told what its own pipelines tell."""

    def __init__(self, models: list[nn.Module], original: TinyWan) -> None:
        self.patch_size = original.patch_size
        self._text_len = original.text_len
        self._models = models

    def start(self, solver: Solver) -> None:
        """Begin a generation with a sampler like this one."""
        self._sigmas: list[float] = solver.sigmas.tolist()
        self._step = -1
        self._timestep: Tensor | None = None

    def __call__(
        self, x: list[Tensor], t: Tensor, context: list[Tensor], seq_len: int, *, y: list[Tensor]
    ) -> list[Tensor]:
        """See `TinyWan.forward`; one latent at a time, as the sampler has it."""
        # The sampler hands the same tensor to both branches of a step, the prompt's first.
        branch = int(t is self._timestep)
        self._timestep = t
        self._step += branch == 0
        model: Any = self._models[branch % len(self._models)]
        place = {
            "step_index": self._step,
            "sigma": self._sigmas[self._step],
            "num_inference_steps": len(self._sigmas) - 1,
        }
        text = F.pad(context[0], (0, 0, 0, self._text_len - context[0].shape[0]))[None]
        with model.cache_context(BRANCHES[branch], **place):
            flow: Tensor = model(
                hidden_states=torch.cat([x[0], y[0]])[None],
                timestep=t,
                encoder_hidden_states=text,
                return_dict=False,
            )[0]
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
