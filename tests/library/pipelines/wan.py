"""Wan2.1, Wan2.2 and what is built on Wan: SkyReels V2, ChronoEdit, Helios."""

import diffusers
from PIL import Image

from tests.library.pipelines import text, vaes
from tests.library.pipelines.toy import Arguments, Toy, seeded

NEGATIVE = "blurred"
SIZE = {"height": 16, "width": 16, "num_frames": 9}
GUIDED = {"prompt": "", "negative_prompt": NEGATIVE, "guidance_scale": 6.0}
SHAPE = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 64,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}


def picture(size: int = 16, shade: int = 90) -> Image.Image:
    """A plain picture."""
    return Image.new("RGB", (size, size), (shade, 120, 200))


def model(transformer_class=diffusers.WanTransformer3DModel, **changes):
    """A transformer of Wan's kind."""
    return transformer_class(**{**SHAPE, "rope_max_seq_len": 32, **changes})


def flow_euler():
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)


def flow_unipc(shift: float = 3.0):
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def common(transformer, scheduler=None, vae=None) -> Arguments:
    """The parts that every pipeline of this family has."""
    return {
        "transformer": transformer,
        "scheduler": scheduler or flow_euler(),
        "vae": vae or vaes.wan(),
        "text_encoder": text.t5(),
        "tokenizer": text.tokenizer(),
    }


def with_vision(size: int = 8) -> Arguments:
    """CLIP's vision model, for those that look at a picture."""
    encoder, processor = text.clip_vision(size=size)
    return {"image_encoder": encoder, "image_processor": processor}


def wan():
    return seeded(diffusers.WanPipeline, lambda: {**common(model()), "transformer_2": None})


def wan22():
    return seeded(
        diffusers.WanPipeline,
        lambda: {**common(model(), flow_unipc()), "transformer_2": model(), "boundary_ratio": 0.875},
    )


def wan22_ti2v():
    return seeded(
        diffusers.WanPipeline,
        lambda: {
            **common(model(in_channels=48, out_channels=48), flow_unipc(), vaes.wan22()),
            "transformer_2": None,
            "expand_timesteps": True,
        },
    )


def wan_i2v():
    return seeded(
        diffusers.WanImageToVideoPipeline,
        lambda: {**common(model(in_channels=36, image_dim=4)), **with_vision(), "transformer_2": None},
    )


def wan_flf2v():
    # Two pictures of 4 × 4 patches and a class token each.
    return seeded(
        diffusers.WanImageToVideoPipeline,
        lambda: {
            **common(model(in_channels=36, image_dim=4, pos_embed_seq_len=2 * 17)),
            **with_vision(),
            "transformer_2": None,
        },
    )


def wan22_i2v():
    return seeded(
        diffusers.WanImageToVideoPipeline,
        lambda: {
            **common(model(in_channels=36), flow_unipc()),
            "transformer_2": model(in_channels=36),
            "image_encoder": None,
            "image_processor": None,
            "boundary_ratio": 0.875,
        },
    )


def wan22_ti2v_i2v():
    return seeded(
        diffusers.WanImageToVideoPipeline,
        lambda: {
            **common(model(in_channels=48, out_channels=48), flow_unipc(), vaes.wan22()),
            "transformer_2": None,
            "image_encoder": None,
            "image_processor": None,
            "expand_timesteps": True,
        },
    )


def wan_v2v():
    return seeded(diffusers.WanVideoToVideoPipeline, lambda: common(model(), flow_unipc()))


def wan_vace():
    vace = diffusers.WanVACETransformer3DModel
    return seeded(
        diffusers.WanVACEPipeline,
        lambda: {
            **common(model(vace, num_layers=3, vace_layers=[0, 2], vace_in_channels=96)),
            "transformer_2": None,
        },
    )


def wan_animate():
    motion = {
        "motion_encoder_channel_sizes": {"4": 16, "8": 16, "16": 16},
        "motion_encoder_size": 16,
        "motion_style_dim": 8,
        "motion_dim": 4,
        "motion_encoder_dim": 16,
        "face_encoder_hidden_dim": 16,
        "face_encoder_num_heads": 2,
        "inject_face_latents_blocks": 2,
    }
    animate = diffusers.WanAnimateTransformer3DModel
    return seeded(
        diffusers.WanAnimatePipeline,
        lambda: {
            **common(model(animate, in_channels=36, latent_channels=16, image_dim=4, **motion)),
            **with_vision(),
        },
    )


def skyreels(pipeline_class, shift: float, **changes):
    """SkyReels V2 without a picture encoder."""
    transformer = diffusers.SkyReelsV2Transformer3DModel
    return seeded(pipeline_class, lambda: common(model(transformer, **changes), flow_unipc(shift)))


def skyreels_v2_i2v():
    transformer = diffusers.SkyReelsV2Transformer3DModel
    return seeded(
        diffusers.SkyReelsV2ImageToVideoPipeline,
        lambda: {**common(model(transformer, in_channels=36, image_dim=4), flow_unipc(5.0)), **with_vision()},
    )


def chronoedit():
    transformer = diffusers.ChronoEditTransformer3DModel
    return seeded(
        diffusers.ChronoEditPipeline,
        lambda: {**common(model(transformer, in_channels=36, image_dim=4)), **with_vision()},
    )


def helios():
    shape = {
        **SHAPE,
        "rope_dim": (4, 4, 4),
        "has_multi_term_memory_patch": True,
        "guidance_cross_attn": True,
        "zero_history_timestep": True,
        "is_amplify_history": False,
    }
    return seeded(
        diffusers.HeliosPipeline,
        lambda: common(
            diffusers.HeliosTransformer3DModel(**shape),
            diffusers.HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True),
        ),
    )


def plain() -> Arguments:
    return {**GUIDED, **SIZE}


def large() -> Arguments:
    return {**GUIDED, **SIZE, "height": 32, "width": 32}


def from_picture() -> Arguments:
    return {**plain(), "image": picture()}


# Pipelines that give the picture's features once, whatever the number of videos.
ONE_VIDEO = {"two videos": "Sizes of tensors must match"}
IMAGE = frozenset({"image"})
EXPERTS = frozenset({"two experts"})
DF = diffusers.SkyReelsV2DiffusionForcingPipeline
DF_I2V = diffusers.SkyReelsV2DiffusionForcingImageToVideoPipeline
ROWS = [
    Toy("wan", wan, plain),
    Toy("wan22", wan22, plain, has=EXPERTS),
    Toy("wan22_ti2v", wan22_ti2v, large, wider={"width": 64}, has=frozenset({"timestep per token"})),
    Toy("wan22_i2v", wan22_i2v, from_picture, has=IMAGE | EXPERTS),
    Toy(
        "wan22_ti2v_i2v",
        wan22_ti2v_i2v,
        lambda: {**large(), "image": picture(32)},
        wider={"width": 64},
        has=IMAGE | {"timestep per token"},
    ),
    Toy("wan_i2v", wan_i2v, from_picture, has=IMAGE, stops=ONE_VIDEO),
    Toy(
        "wan_flf2v",
        wan_flf2v,
        lambda: {**from_picture(), "last_image": picture(16, 20)},
        has=IMAGE,
        stops=ONE_VIDEO,
    ),
    Toy(
        "wan_v2v",
        wan_v2v,
        lambda: {**GUIDED, "height": 16, "width": 16, "video": [picture()] * 9},
        has=frozenset({"strength"}),
        steps=10,
    ),
    Toy(
        "wan_vace",
        wan_vace,
        lambda: {**plain(), "video": [picture()] * 9, "mask": [Image.new("L", (16, 16), 0)] * 9},
        has=IMAGE,
        stops={"two prompts": "not yet supported", "two videos": "not yet supported"},
    ),
    Toy(
        "wan_animate",
        wan_animate,
        lambda: {
            **GUIDED,
            "height": 16,
            "width": 16,
            "image": picture(),
            "pose_video": [picture()] * 17,
            "face_video": [picture()] * 17,
            "segment_frame_length": 13,
            "prev_segment_conditioning_frames": 1,
        },
        has=frozenset({"image", "several loops"}),
    ),
    Toy("skyreels_v2", lambda: skyreels(diffusers.SkyReelsV2Pipeline, 8.0), plain),
    Toy("skyreels_v2_i2v", skyreels_v2_i2v, from_picture, has=IMAGE, stops=ONE_VIDEO),
    Toy("skyreels_v2_df", lambda: skyreels(DF, 8.0), plain, has=frozenset({"copied schedulers"})),
    Toy(
        "skyreels_v2_df_i2v",
        lambda: skyreels(DF_I2V, 5.0),
        from_picture,
        has=IMAGE | {"copied schedulers"},
    ),
    Toy("chronoedit", chronoedit, lambda: {**from_picture(), "num_frames": 5}, has=IMAGE, stops=ONE_VIDEO),
    Toy(
        "helios",
        helios,
        lambda: {**plain(), "num_frames": 17, "num_latent_frames_per_chunk": 3},
        has=frozenset({"several loops"}),
        stops=ONE_VIDEO,
    ),
]
