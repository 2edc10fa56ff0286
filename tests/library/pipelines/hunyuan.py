"""HunyuanVideo, SkyReels V1, HunyuanVideo 1.5, and Kandinsky 5, which shares the autoencoder."""

import diffusers
import transformers

from tests.library.pipelines import text, vaes
from tests.library.pipelines.toy import Arguments, Toy, seeded
from tests.library.pipelines.wan import picture

SIZE = {"height": 16, "width": 16, "num_frames": 9}
TEMPLATE = {"template": "{}", "crop_start": 0}
# LLaVA at toy size makes 16 tokens of a picture.
PICTURE_TEMPLATE = {**TEMPLATE, "image_emb_len": 16, "image_emb_start": 5, "image_emb_end": 21}


def hunyuan(pipeline_class, encoder=text.llama, **changes):
    """One of the pipelines of HunyuanVideo."""

    def components() -> Arguments:
        shape = {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 10,
            "num_layers": 2,
            "num_single_layers": 2,
            "num_refiner_layers": 1,
            "patch_size": 1,
            "patch_size_t": 1,
            "guidance_embeds": True,
            "text_embed_dim": 16,
            "pooled_projection_dim": 8,
            "rope_axes_dim": (2, 4, 4),
        }
        parts = {
            "transformer": diffusers.HunyuanVideoTransformer3DModel(**{**shape, **changes}),
            "vae": vaes.hunyuan(),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
            "tokenizer": text.tokenizer(),
            "text_encoder_2": text.clip_text(8),
            "tokenizer_2": text.tokenizer(),
        }
        if encoder is text.llava:
            llava, processor = encoder()
            return {**parts, "text_encoder": llava, "image_processor": processor}
        return {**parts, "text_encoder": encoder()}

    return seeded(pipeline_class, components)


def hunyuan_i2v():
    return hunyuan(
        diffusers.HunyuanVideoImageToVideoPipeline,
        text.llava,
        in_channels=9,
        guidance_embeds=False,
        image_condition_type="latent_concat",
    )


def hunyuan15():
    from diffusers.guiders import ClassifierFreeGuidance

    pipe = seeded(
        diffusers.HunyuanVideo15Pipeline,
        lambda: {
            "transformer": diffusers.HunyuanVideo15Transformer3DModel(
                in_channels=9,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=2,
                num_refiner_layers=1,
                mlp_ratio=2.0,
                patch_size=1,
                patch_size_t=1,
                text_embed_dim=16,
                text_embed_2_dim=32,
                image_embed_dim=12,
                rope_axes_dim=(2, 2, 4),
                target_size=16,
                task_type="t2v",
            ),
            "vae": diffusers.AutoencoderKLHunyuanVideo15(
                latent_channels=4,
                block_out_channels=(16, 16),
                layers_per_block=1,
                spatial_compression_ratio=4,
                temporal_compression_ratio=2,
                downsample_match_channel=False,
                upsample_match_channel=False,
            ),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
            "text_encoder": text.qwen_text(),
            "tokenizer": text.tokenizer(),
            "text_encoder_2": text.t5(),
            "tokenizer_2": transformers.ByT5Tokenizer(),
            "guider": ClassifierFreeGuidance(guidance_scale=6.0),
        },
    )
    # Its call has no argument for these. The first has room for its template, byte by byte.
    pipe.tokenizer_max_length = 640
    pipe.tokenizer_2_max_length = 16
    return pipe


def kandinsky(pipeline_class, widths, visual_cond: bool):
    """One of the pipelines of Kandinsky 5."""
    return seeded(
        pipeline_class,
        lambda: {
            "transformer": diffusers.Kandinsky5Transformer3DModel(
                in_visual_dim=16,
                in_text_dim=32,
                in_text_dim2=16,
                time_dim=16,
                out_visual_dim=16,
                patch_size=(1, 2, 2),
                model_dim=16,
                ff_dim=32,
                num_text_blocks=1,
                num_visual_blocks=2,
                axes_dims=(1, 1, 2),
                visual_cond=visual_cond,
            ),
            "vae": vaes.hunyuan(widths, channels=16, groups=8),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
            "text_encoder": text.qwen(32),
            "tokenizer": text.tokenizer(1000),
            "text_encoder_2": text.clip_text(16),
            "tokenizer_2": text.tokenizer(),
        },
    )


def plain() -> Arguments:
    """Guided by the embedded scale and by a negative prompt."""
    return {
        "prompt": "",
        "negative_prompt": "blurred",
        "true_cfg_scale": 4.0,
        "prompt_template": TEMPLATE,
        **SIZE,
    }


def kandinsky_plain() -> Arguments:
    return {
        # Its template is long, byte by byte.
        "max_sequence_length": 640,
        "prompt": "",
        "negative_prompt": "blurred",
        "guidance_scale": 4.0,
        "height": 32,
        "width": 32,
        "num_frames": 5,
    }


ONE_BRANCH = {"true_cfg_scale": 1.0}
IMAGE = frozenset({"image"})
GUIDER = frozenset({"guider"})
ROWS = [
    Toy("hunyuan_video", lambda: hunyuan(diffusers.HunyuanVideoPipeline), plain, unguided=ONE_BRANCH),
    Toy(
        "hunyuan_video_i2v",
        hunyuan_i2v,
        lambda: {**plain(), "prompt_template": PICTURE_TEMPLATE, "image": picture()},
        unguided=ONE_BRANCH,
        has=IMAGE,
        stops={
            "two prompts": "Image features and image tokens do not match",
            "two videos": "Sizes of tensors must match",
        },
    ),
    Toy(
        "skyreels_i2v",
        lambda: hunyuan(diffusers.HunyuanSkyreelsImageToVideoPipeline, in_channels=8),
        lambda: {**plain(), "image": picture()},
        unguided={"true_cfg_scale": 1.0, "guidance_scale": 1.0},
        has=IMAGE,
        stops={
            "two prompts": "Sizes of tensors must match",
            "two videos": "Sizes of tensors must match",
        },
    ),
    Toy(
        "hunyuan_video1_5",
        hunyuan15,
        lambda: {"prompt": "", "negative_prompt": "blurred", **SIZE},
        unguided={},
        has=GUIDER,
        stops={"two videos": "is invalid for input of size"},
    ),
    Toy(
        "kandinsky5",
        lambda: kandinsky(diffusers.Kandinsky5T2VPipeline, (8, 16), False),
        kandinsky_plain,
        wider={"width": 64},
    ),
    Toy(
        "kandinsky5_i2v",
        lambda: kandinsky(diffusers.Kandinsky5I2VPipeline, (8, 16, 16), True),
        lambda: {**kandinsky_plain(), "num_frames": 17, "image": picture(32)},
        wider={"width": 64},
        has=IMAGE,
    ),
]
