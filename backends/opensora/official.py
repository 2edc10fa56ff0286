"""Open-Sora 1.2 through its own repository: parts from its registry, its sampler, its prompt preparation."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor

from backends.opensora.cross_attention import XFORMERS
from backends.opensora.facts import (
    AESTHETIC_SCORE,
    FPS,
    MICRO_FRAMES,
    TEXT_ENCODER,
    TEXT_TOKENS,
    TRANSFORMER,
    VAE,
)
from backends.opensora.self_attention import bind_self_attention
from navicache_cli.plan.plan import Plan

PROMPTS = "opensora.utils.inference_utils"
BLOCKS = "opensora.models.layers.blocks"
T5 = "opensora.models.text_encoder.t5"


class OpenSoraRoute:
    """What scripts/inference.py at v1.2.0 does for one text prompt, by calls of the official functions.

    The values of the configs are those of configs/opensora-v1-2/inference/sample.py; apex's kernels are
    turned on where they are installed, and flash-attn's always, as there is a stand-in for them.

    Args:
        plan: what is to be generated.
        device: where all parts go. In bfloat16 on a GPU, in float32 on a CPU; T5 always in float32.
    """

    modules = ("opensora.models", "opensora.schedulers", PROMPTS, "opensora.registry")
    classes: ClassVar[dict[str, str]] = {
        "STDiT3": "opensora.models.stdit.stdit3",
        "VideoAutoencoderPipeline": "opensora.models.vae.vae",
        "AutoencoderKL": "opensora.models.vae.vae",
        "T5EncoderModel": T5,
        "AutoTokenizer": T5,
    }

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.device = device
        on_gpu = device.type == "cuda"
        self.dtype = torch.bfloat16 if on_gpu else torch.float32
        if not on_gpu or find_spec("xformers") is None:
            blocks: Any = sys.modules[BLOCKS]
            blocks.xformers = XFORMERS
        bind_self_attention(BLOCKS)
        registry: Any = sys.modules["opensora.registry"]
        build, models = registry.build_module, registry.MODELS
        text_encoder = {"type": "t5", "from_pretrained": TEXT_ENCODER, "model_max_length": TEXT_TOKENS}
        vae = {
            "type": "OpenSoraVAE_V1_2", "from_pretrained": VAE,
            "micro_frame_size": MICRO_FRAMES, "micro_batch_size": 4,
        }  # fmt: skip
        transformer = {
            "type": "STDiT3-XL/2", "from_pretrained": TRANSFORMER, "qk_norm": True,
            "enable_flash_attn": True,
            "enable_layernorm_kernel": on_gpu and find_spec("apex") is not None,
        }  # fmt: skip
        self.text_encoder = build(text_encoder, models, device=str(device))
        self.vae = build(vae, models).to(device, self.dtype).eval()
        self.transformer = build(
            transformer,
            models,
            in_channels=self.vae.out_channels,
            caption_channels=self.text_encoder.output_dim,
            model_max_length=self.text_encoder.model_max_length,
        )
        self.transformer = self.transformer.to(device, self.dtype).eval()
        # The unconditional branch's text, where the official script puts it too.
        self.text_encoder.y_embedder = self.transformer.y_embedder

    @torch.no_grad()
    def generate(self, plan: Plan) -> Tensor:
        """Return the video [3, F, H, W], float in [-1, 1]."""
        registry, prepare, t5 = (
            sys.modules[name] for name in ("opensora.registry", PROMPTS, self.classes["T5EncoderModel"])
        )
        scheduler = registry.build_module(
            {
                "type": "rflow", "use_timestep_transform": True,
                "num_sampling_steps": plan.steps, "cfg_scale": plan.guidance,
            },
            registry.SCHEDULERS,
        )  # fmt: skip
        size = (plan.height, plan.width)
        arguments = prepare.prepare_multi_resolution_info(
            "STDiT2", 1, size, plan.frames, FPS, self.device, self.dtype
        )
        prompts = prepare.append_score_to_prompts([plan.prompt], aes=AESTHETIC_SCORE)
        prompts = [t5.text_preprocessing(prompt) for prompt in prompts]
        torch.manual_seed(plan.seed)
        shape = (1, self.vae.out_channels, *self.vae.get_latent_size((plan.frames, *size)))
        noise = torch.randn(shape, device=self.device, dtype=self.dtype)
        # No reference pictures: the mask says that all frames are to be made.
        mask = prepare.apply_mask_strategy(noise, [[]], [""], 0, align=5)
        latents = scheduler.sample(
            self.transformer,
            self.text_encoder,
            z=noise,
            prompts=prompts,
            device=self.device,
            additional_args=arguments,
            progress=False,
            mask=mask,
        )
        video: Tensor = self.vae.decode(latents.to(self.dtype), num_frames=plan.frames)[0]
        return video.float().clamp(-1, 1)
