"""Three image pipelines, as caches are first tried on these: Flux, Qwen-Image, Stable Diffusion 3."""

import diffusers

from tests.library.pipelines import text, vaes
from tests.library.pipelines.toy import Arguments, Toy, seeded


def flux():
    return seeded(
        diffusers.FluxPipeline,
        lambda: {
            "transformer": diffusers.FluxTransformer2DModel(
                patch_size=1,
                in_channels=4,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                axes_dims_rope=[4, 4, 8],
            ),
            "vae": vaes.image(1),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.clip_text(),
            "tokenizer": text.tokenizer(),
            "text_encoder_2": text.t5(),
            "tokenizer_2": text.tokenizer(),
        },
    )


def qwenimage():
    return seeded(
        diffusers.QwenImagePipeline,
        lambda: {
            "transformer": diffusers.QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=3,
                joint_attention_dim=16,
                axes_dims_rope=(8, 4, 4),
            ),
            "vae": diffusers.AutoencoderKLQwenImage(
                base_dim=24,
                z_dim=4,
                dim_mult=[1, 2, 4],
                num_res_blocks=1,
                temperal_downsample=[False, True],
                latents_mean=[0.0] * 4,
                latents_std=[1.0] * 4,
            ),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.qwen(),
            "tokenizer": text.tokenizer(),
        },
    )


def sd3():
    return seeded(
        diffusers.StableDiffusion3Pipeline,
        lambda: {
            "transformer": diffusers.SD3Transformer2DModel(
                sample_size=32,
                patch_size=1,
                in_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=4,
                caption_projection_dim=32,
                joint_attention_dim=32,
                pooled_projection_dim=64,
                out_channels=4,
            ),
            "vae": vaes.image(4),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.clip_text(projection=True),
            "tokenizer": text.tokenizer(),
            "text_encoder_2": text.clip_text(projection=True),
            "tokenizer_2": text.tokenizer(),
            "text_encoder_3": text.t5(),
            "tokenizer_3": text.tokenizer(),
        },
    )


def square(size: int, **guidance: float) -> Arguments:
    return {"prompt": "", "negative_prompt": "blurred", "height": size, "width": size, **guidance}


ONE_BRANCH = {"true_cfg_scale": 1.0}
ROWS = [
    Toy("flux", flux, lambda: square(8, true_cfg_scale=4.0), unguided=ONE_BRANCH, wider={"width": 16}),
    Toy(
        "qwenimage",
        qwenimage,
        # Its template is long, byte by byte.
        lambda: {**square(32, true_cfg_scale=4.0), "max_sequence_length": 256},
        unguided=ONE_BRANCH,
        wider={"width": 64},
    ),
    Toy("sd3", sd3, lambda: square(16, guidance_scale=5.0), has=frozenset({"guidance in one batch"})),
]
