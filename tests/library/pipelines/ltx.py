"""LTX-Video, and LTX-2 with sound."""

import diffusers

from tests.library.pipelines import text, vaes
from tests.library.pipelines.toy import Arguments, Toy, seeded
from tests.library.pipelines.wan import picture

NEGATIVE = "blurred"


def ltx(pipeline_class):
    """One of the three pipelines of LTX-Video."""
    return seeded(
        pipeline_class,
        lambda: {
            "transformer": diffusers.LTXVideoTransformer3DModel(
                in_channels=8,
                out_channels=8,
                num_attention_heads=4,
                attention_head_dim=8,
                cross_attention_dim=32,
                num_layers=2,
                caption_channels=32,
            ),
            "vae": vaes.ltx(),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.t5(),
            "tokenizer": text.tokenizer(),
        },
    )


def ltx2_vae():
    """The video part: 4 channels."""
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatial",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
    )
    vae.use_framewise_encoding = False
    vae.use_framewise_decoding = False
    return vae


def ltx2_sound():
    """The parts for sound: an autoencoder of spectrograms and a vocoder."""
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    audio = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4,
        output_channels=2,
        ch_mult=(1,),
        num_res_blocks=1,
        in_channels=2,
        resolution=32,
        latent_channels=2,
        norm_type="pixel",
        causality_axis="height",
        mid_block_add_attention=False,
        sample_rate=16000,
        mel_hop_length=160,
        is_causal=True,
        mel_bins=8,
    )
    vocoder = LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        out_channels=2,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        leaky_relu_negative_slope=0.1,
        output_sampling_rate=16000,
    )
    return {"audio_vae": audio, "vocoder": vocoder}


def ltx2_connectors():
    """What stands between the text encoder's three layers of states and the transformer."""
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    return LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        connector_rope_base_seq_len=32,
        rope_theta=10000.0,
        rope_double_precision=False,
        causal_temporal_positioning=False,
        rope_type="split",
    )


def ltx2(pipeline_class):
    """One of the pipelines of LTX-2: the transformer has two outputs, video and sound."""
    return seeded(
        pipeline_class,
        lambda: {
            "transformer": diffusers.LTX2VideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=8,
                cross_attention_dim=16,
                audio_in_channels=4,
                audio_out_channels=4,
                audio_num_attention_heads=2,
                audio_attention_head_dim=4,
                audio_cross_attention_dim=8,
                num_layers=2,
                qk_norm="rms_norm_across_heads",
                caption_channels=16,
                rope_double_precision=False,
                rope_type="split",
            ),
            "vae": ltx2_vae(),
            **ltx2_sound(),
            "connectors": ltx2_connectors(),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
            "text_encoder": text.gemma3(),
            "tokenizer": text.tokenizer(),
        },
    )


def plain() -> Arguments:
    return {
        "prompt": "",
        "negative_prompt": NEGATIVE,
        "guidance_scale": 3.0,
        "height": 32,
        "width": 32,
        "num_frames": 9,
    }


def with_sound() -> Arguments:
    return {**plain(), "num_frames": 5, "frame_rate": 25.0}


WIDER = {"width": 64}
# Sound has a guidance of its own.
SILENT = {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
IMAGE = frozenset({"image"})
SOUND = frozenset({"two outputs"})
ROWS = [
    Toy("ltx", lambda: ltx(diffusers.LTXPipeline), plain, wider=WIDER),
    Toy(
        "ltx_i2v",
        lambda: ltx(diffusers.LTXImageToVideoPipeline),
        lambda: {**plain(), "image": picture(32)},
        wider=WIDER,
        has=IMAGE | {"timestep per token"},
    ),
    Toy(
        "ltx_condition",
        lambda: ltx(diffusers.LTXConditionPipeline),
        lambda: {**plain(), "image": picture(32)},
        wider=WIDER,
        has=IMAGE | {"timestep per token"},
    ),
    Toy("ltx2", lambda: ltx2(diffusers.LTX2Pipeline), with_sound, unguided=SILENT, wider=WIDER, has=SOUND),
    Toy(
        "ltx2_i2v",
        lambda: ltx2(diffusers.LTX2ImageToVideoPipeline),
        # Without PyAV the picture cannot be compressed as H.264 first.
        lambda: {**with_sound(), "image": picture(32), "image_crf": 0},
        unguided=SILENT,
        wider=WIDER,
        has=SOUND | IMAGE,
    ),
]
