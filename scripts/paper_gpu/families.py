"""The families on paper: where the parts of their loaded pipelines are, and what official parts to take.

A further family is a row of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn


@dataclass(frozen=True)
class Family:
    """A family on paper.

    Attributes:
        parts: what the ledger calls the weights of a part, and where that is in the pipeline that the backend
            loads, as attributes with dots between; what a task has not is passed over.
        shallow: of the transformer's architecture, what makes it two blocks deep (of each kind).
        random_parts: the module of stand-ins for weights.
        official: names of stand-ins in it, and what makes the official parts instead.
    """

    parts: dict[str, str]
    shallow: dict[str, int]
    random_parts: str
    official: dict[str, Callable[..., Any]]


@contextmanager
def shallow(model: str, other: dict[str, Any] | None = None) -> Iterator[None]:
    """Let `--weights random-small` be the official architecture in full width, but only two blocks deep.

    Args:
        model: the family.
        other: what to change of the architecture instead.
    """
    family = FAMILIES[model]
    with patch.object(import_module(family.random_parts), "SMALL_CONFIG", other or family.shallow):
        yield


@contextmanager
def official_parts(model: str) -> Iterator[None]:
    """Let a family's `--weights random` take official text encoders and VAEs, of full size, not stand-ins.

    Their weights are whatever memory holds: on paper nothing looks at them.
    """
    family = FAMILIES[model]
    module = import_module(family.random_parts)
    with ExitStack() as stack:
        stack.enter_context(patch.object(nn.Module, "load_state_dict", _materialize))
        stack.enter_context(patch.object(torch, "load", lambda *_, **__: {}))
        for name, make in family.official.items():
            stack.enter_context(patch.object(module, name, make))
        yield


def _materialize(module: nn.Module, *_: Any, **__: Any) -> None:
    """In the place of loading a file: what was built without memory gets some."""
    for owner in module.modules():
        for name, weight in owner._parameters.items():
            if weight is not None and weight.is_meta:
                empty = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
                owner._parameters[name] = nn.Parameter(empty, requires_grad=False)


def _tokens(count: int) -> Callable[..., Any]:
    """In the place of a tokenizer that gives numbers and a mask: a prompt of full length."""
    return lambda **_: lambda texts, **_: (torch.ones(len(texts), count, dtype=torch.long),) * 2


def _wan_text_encoder(package: str, **arguments: Any) -> Any:
    module = import_module(f"{package}.modules.t5")
    with patch.object(module, "HuggingfaceTokenizer", _tokens(arguments["text_len"])):
        return module.T5EncoderModel(**arguments)


def _wan_clip(**arguments: Any) -> Any:
    module = import_module("wan.modules.clip")
    with patch.object(module, "HuggingfaceTokenizer", _tokens(77)):
        clip = module.CLIPModel(**arguments)
    clip.transforms = SimpleNamespace(transforms=[lambda pictures: pictures])
    return clip


def _wan_vae(vae_pth: str, device: Any, **_: Any) -> Any:
    return import_module("wan.modules.vae").WanVAE(vae_pth=vae_pth, device=device)


def _wan22_vae(vae_pth: str, device: Any, channels: int, **_: Any) -> Any:
    """That of Wan2.1, or the one of the 5B with 48 channels."""
    name = "vae2_2" if channels == 48 else "vae2_1"
    module = import_module(f"wan22.modules.{name}")
    kind = module.Wan2_2_VAE if channels == 48 else module.Wan2_1_VAE
    return kind(vae_pth=vae_pth, device=device)


def _hunyuan_vae(vae_type: str = "", vae_precision: str = "fp16", device: Any = None, **_: Any) -> Any:
    """The official VAE in the architecture of the published vae/config.json."""
    module = import_module("hyvideo.vae.autoencoder_kl_causal_3d")
    down, up = (f"{way}BlockCausal3D" for way in ("DownEncoder", "UpDecoder"))
    kind = module.AutoencoderKLCausal3D
    # Row by row, in place: a hundred thousand small operations that hold nothing.
    for blend in ("blend_v", "blend_h", "blend_t"):
        setattr(kind, blend, lambda self, a, b, extent: b)
    import_module("hyvideo.vae.unet_causal_3d_blocks").prepare_causal_attention_mask = _causal_mask
    vae = kind(
        down_block_types=(down,) * 4,
        up_block_types=(up,) * 4,
        block_out_channels=(128, 256, 512, 512),
        latent_channels=16,
        sample_size=256,
        sample_tsize=64,
        scaling_factor=0.476986,
        time_compression_ratio=4,
    )
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return vae.requires_grad_(False).to(dtypes[vae_precision]).to(device).eval(), "", 8, 4


def _causal_mask(n_frame: int, n_hw: int, dtype: Any, device: Any, batch_size: int | None = None) -> Any:
    mask = torch.full((n_frame * n_hw,) * 2, float("-inf"), dtype=dtype, device=device)
    return mask if batch_size is None else mask.unsqueeze(0).expand(batch_size, -1, -1)


def _hunyuan_text_encoder(**arguments: Any) -> Any:
    """The stand-in, with the weights of the real one beside it: Llama 3 8B without its head, CLIP-L."""
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    standin = _HUNYUAN.RandomTextEncoder(**arguments)
    if standin.pooled:
        real: nn.Module = CLIPTextModel(
            CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
        )
    else:
        real = LlamaModel(
            LlamaConfig(
                vocab_size=128320,
                hidden_size=4096,
                intermediate_size=14336,
                num_hidden_layers=32,
                num_attention_heads=32,
                num_key_value_heads=8,
            )
        )
    standin.real = real.requires_grad_(False).to(standin.dtype).to(arguments.get("device"))
    return standin


def _opensora_text_encoder() -> Any:
    """The stand-in, with the weights of T5 v1.1 XXL's encoder beside it."""
    from transformers import T5Config, T5EncoderModel

    standin = _OPENSORA.RandomTextEncoder()
    config = T5Config(
        d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    standin.real = T5EncoderModel(config).requires_grad_(False)
    return standin


def _opensora_vae() -> Any:
    """The official VAE, its spatial half in the architecture of SDXL's."""
    from diffusers import AutoencoderKL

    blocks = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    spatial = AutoencoderKL(
        down_block_types=blocks[0],
        up_block_types=blocks[1],
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
    )
    models = import_module("opensora.registry").MODELS
    kind = models.get("VideoAutoencoderPipeline")
    # The figures of the official function OpenSoraVAE_V1_2.
    config = import_module("opensora.models.vae.vae").VideoAutoencoderPipelineConfig(
        vae_2d={"type": "VideoAutoencoderKL", "from_pretrained": "", "micro_batch_size": 4},
        vae_temporal={"type": "VAE_Temporal_SD", "from_pretrained": None},
        micro_frame_size=17,
        shift=(-0.10, 0.34, 0.27, 0.98),
        scale=(3.85, 2.32, 2.33, 3.06),
    )
    with patch.object(AutoencoderKL, "from_pretrained", lambda *_, **__: spatial):
        return kind(config).requires_grad_(False)


# The stand-ins as they are when nothing takes their place.
_HUNYUAN = SimpleNamespace(**vars(import_module("backends.hunyuan.random_parts")))
_OPENSORA = SimpleNamespace(**vars(import_module("backends.opensora.random_parts")))
FAMILIES = {
    "wan": Family(
        {
            "transformer": "official.model",
            "text encoder": "official.text_encoder.model",
            "VAE": "official.vae.model",
            "CLIP": "official.clip.model",
        },
        {"num_layers": 2},
        "backends.wan.random_parts",
        {
            "RandomTextEncoder": partial(_wan_text_encoder, "wan"),
            "RandomVAE": _wan_vae,
            "RandomCLIP": _wan_clip,
        },
    ),
    "wan2.2": Family(
        {
            "transformer": "official.model",
            "high-noise transformer": "official.high_noise_model",
            "low-noise transformer": "official.low_noise_model",
            "text encoder": "official.text_encoder.model",
            "VAE": "official.vae.model",
        },
        {"num_layers": 2},
        "backends.wan.random_parts",
        {"RandomTextEncoder": partial(_wan_text_encoder, "wan22"), "RandomVAE": _wan22_vae},
    ),
    "hunyuan": Family(
        {
            "transformer": "sampler.pipeline.transformer",
            "text encoder": "sampler.pipeline.text_encoder",
            "second text encoder": "sampler.pipeline.text_encoder_2",
            "VAE": "sampler.pipeline.vae",
        },
        {"mm_double_blocks_depth": 2, "mm_single_blocks_depth": 2},
        "backends.hunyuan.random_parts",
        {"RandomTextEncoder": _hunyuan_text_encoder, "load_random_vae": _hunyuan_vae},
    ),
    "opensora": Family(
        {
            "transformer": "route.transformer",
            "text encoder": "route.text_encoder.t5.model",
            "VAE": "route.vae",
        },
        {"depth": 2},
        "backends.opensora.random_parts",
        {"RandomTextEncoder": _opensora_text_encoder, "RandomVAE": _opensora_vae},
    ),
}
