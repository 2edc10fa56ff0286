"""Further pipelines: variants of families that have rows elsewhere, EasyAnimate, and two U-Nets."""

import diffusers
import transformers

from tests.library.pipelines import hunyuan, ltx, others, text, vaes, wan
from tests.library.pipelines.toy import Arguments, Toy, seeded
from tests.library.pipelines.wan import picture


def cogvideox_fun():
    return others.cogvideox(diffusers.CogVideoXFunControlPipeline, in_channels=8)


def framepack():
    vision = transformers.SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
    )
    return seeded(
        diffusers.HunyuanVideoFramepackPipeline,
        lambda: {
            "transformer": diffusers.HunyuanVideoFramepackTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=10,
                num_layers=2,
                num_single_layers=2,
                num_refiner_layers=1,
                patch_size=2,
                patch_size_t=1,
                guidance_embeds=True,
                text_embed_dim=16,
                pooled_projection_dim=8,
                rope_axes_dim=(2, 4, 4),
                image_condition_type=None,
                has_image_proj=True,
                image_proj_dim=32,
                has_clean_x_embedder=True,
            ),
            "vae": vaes.hunyuan(),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
            "text_encoder": text.llama(),
            "tokenizer": text.tokenizer(),
            "text_encoder_2": text.clip_text(8),
            "tokenizer_2": text.tokenizer(),
            "image_encoder": transformers.SiglipVisionModel(vision),
            "feature_extractor": transformers.SiglipImageProcessor(size={"height": 16, "width": 16}),
        },
    )


def ltx2_condition():
    return ltx.ltx2(diffusers.LTX2ConditionPipeline)


def ltx2_condition_arguments() -> Arguments:
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    condition = LTX2VideoCondition(frames=picture(32), index=0, strength=1.0, crf=0)
    return {**ltx.with_sound(), "conditions": condition}


def easyanimate():
    return seeded(
        diffusers.EasyAnimatePipeline,
        lambda: {
            "transformer": diffusers.EasyAnimateTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=16,
                in_channels=4,
                out_channels=4,
                time_embed_dim=2,
                text_embed_dim=16,
                num_layers=2,
                sample_width=16,
                sample_height=16,
                patch_size=2,
            ),
            "vae": diffusers.AutoencoderKLMagvit(
                down_block_types=("SpatialDownBlock3D", *("SpatialTemporalDownBlock3D",) * 3),
                up_block_types=("SpatialUpBlock3D", *("SpatialTemporalUpBlock3D",) * 3),
                block_out_channels=(8, 8, 8, 8),
                latent_channels=4,
                layers_per_block=1,
                norm_num_groups=2,
                spatial_group_norm=False,
            ),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.qwen(),
            "tokenizer": text.tokenizer(300),
        },
    )


def svd():
    # The pipeline resizes every picture to 224 pixels for it.
    encoder, processor = text.clip_vision(32, size=224, patch_size=56)
    return seeded(
        diffusers.StableVideoDiffusionPipeline,
        lambda: {
            "unet": diffusers.UNetSpatioTemporalConditionModel(
                block_out_channels=(32, 64),
                layers_per_block=1,
                sample_size=32,
                in_channels=8,
                out_channels=4,
                down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                cross_attention_dim=32,
                num_attention_heads=8,
                projection_class_embeddings_input_dim=96,
                addition_time_embed_dim=32,
            ),
            "vae": diffusers.AutoencoderKLTemporalDecoder(
                block_out_channels=(32, 64),
                down_block_types=("DownEncoderBlock2D",) * 2,
                latent_channels=4,
            ),
            "scheduler": diffusers.EulerDiscreteScheduler(
                prediction_type="v_prediction",
                sigma_max=700.0,
                sigma_min=0.002,
                timestep_type="continuous",
                use_karras_sigmas=True,
            ),
            "image_encoder": encoder,
            "feature_extractor": processor,
        },
    )


def animatediff():
    return seeded(
        diffusers.AnimateDiffPipeline,
        lambda: {
            "unet": diffusers.UNet2DConditionModel(
                block_out_channels=(8, 8),
                layers_per_block=1,
                sample_size=8,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=8,
                norm_num_groups=2,
            ),
            "motion_adapter": diffusers.MotionAdapter(
                block_out_channels=(8, 8),
                motion_layers_per_block=1,
                motion_norm_num_groups=2,
                motion_num_attention_heads=4,
            ),
            "vae": vaes.image(4),
            "scheduler": diffusers.DDIMScheduler(clip_sample=False),
            "text_encoder": text.clip_text(8),
            "tokenizer": text.tokenizer(),
        },
    )


IMAGE = frozenset({"image"})
LOOPS = frozenset({"several loops"})
UNET = frozenset({"U-Net"})
ROWS = [
    Toy(
        "cogvideox_fun_control",
        cogvideox_fun,
        lambda: {**others.GUIDED, **others.SIZE, "control_video": [picture()] * 9},
        has=IMAGE,
        stops={"two prompts": "Sizes of tensors must match"},
    ),
    Toy(
        "skyreels_v2_df_v2v",
        lambda: wan.skyreels(diffusers.SkyReelsV2DiffusionForcingVideoToVideoPipeline, 5.0),
        lambda: {
            **wan.GUIDED,
            "height": 16,
            "width": 16,
            "video": [picture()] * 7,
            "overlap_history": 3,
            "num_frames": 17,
            "base_num_frames": 5,
        },
        has=IMAGE | LOOPS | {"copied schedulers"},
    ),
    Toy(
        "hunyuan_video_framepack",
        framepack,
        lambda: {
            **hunyuan.plain(),
            "image": picture(32),
            "height": 32,
            "width": 32,
            "num_frames": 18,
            "latent_window_size": 3,
        },
        unguided=hunyuan.ONE_BRANCH,
        wider={"width": 64},
        has=IMAGE | LOOPS,
        stops={
            "two prompts": "Sizes of tensors must match",
            "two videos": "Sizes of tensors must match",
        },
    ),
    Toy(
        "ltx2_condition",
        ltx2_condition,
        ltx2_condition_arguments,
        unguided=ltx.SILENT,
        wider=ltx.WIDER,
        has=ltx.SOUND | IMAGE,
    ),
    Toy("easyanimate", easyanimate, lambda: {**others.GUIDED, **others.SIZE, "num_frames": 5}),
    Toy(
        "stable_video_diffusion",
        svd,
        lambda: {"image": picture(32), "height": 32, "width": 32, "num_frames": 2},
        unguided={"min_guidance_scale": 1.0, "max_guidance_scale": 1.0},
        wider={"width": 64},
        has=IMAGE | UNET,
        stops={"two prompts": "unexpected keyword argument 'prompt'"},
    ),
    Toy(
        "animatediff",
        animatediff,
        lambda: {**others.GUIDED, "height": 8, "width": 8, "num_frames": 4},
        wider={"width": 16},
        has=UNET,
    ),
]
