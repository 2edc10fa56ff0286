"""Video families with one or a few pipelines: CogVideoX, Mochi, Allegro, Latte, Cosmos, Sana, Motif."""

import diffusers
import torch

from tests.library.pipelines import text, vaes
from tests.library.pipelines.toy import Arguments, Toy, seeded
from tests.library.pipelines.wan import flow_euler, picture

GUIDED = {"prompt": "", "negative_prompt": "blurred", "guidance_scale": 6.0}
SIZE = {"height": 16, "width": 16}


def with_t5(transformer, vae, scheduler, width: int = 32, **more) -> Arguments:
    """The parts of a pipeline that reads its prompt with T5."""
    return {
        "transformer": transformer,
        "vae": vae,
        "scheduler": scheduler,
        "text_encoder": text.t5(width),
        "tokenizer": text.tokenizer(),
        **more,
    }


def cogvideox(pipeline_class, **changes):
    """One of the pipelines of CogVideoX."""
    shape = {
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 2,
        "text_embed_dim": 32,
        "num_layers": 2,
        "sample_width": 2,
        "sample_height": 2,
        "sample_frames": 9,
        "patch_size": 2,
        "temporal_compression_ratio": 4,
        "max_text_seq_length": 32,
    }
    return seeded(
        pipeline_class,
        lambda: with_t5(
            diffusers.CogVideoXTransformer3DModel(**{**shape, **changes}),
            vaes.cogvideox(),
            diffusers.DDIMScheduler(),
        ),
    )


def cogvideox_i2v():
    return cogvideox(
        diffusers.CogVideoXImageToVideoPipeline,
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )


def mochi():
    def transformer():
        made = diffusers.MochiTransformer3DModel(
            patch_size=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            pooled_projection_dim=16,
            in_channels=12,
            qk_norm="rms_norm",
            text_embed_dim=32,
            time_embed_dim=4,
            activation_fn="swiglu",
            max_sequence_length=16,
        )
        # The model leaves this uninitialised, to be filled from a checkpoint.
        torch.nn.init.zeros_(made.pos_frequencies)
        return made

    return seeded(
        diffusers.MochiPipeline,
        lambda: with_t5(
            transformer(),
            diffusers.AutoencoderKLMochi(
                latent_channels=12,
                out_channels=3,
                encoder_block_out_channels=(32, 32, 32, 32),
                decoder_block_out_channels=(32, 32, 32, 32),
                layers_per_block=(1, 1, 1, 1, 1),
            ),
            diffusers.FlowMatchEulerDiscreteScheduler(),
        ),
    )


def allegro():
    def vae():
        made = diffusers.AutoencoderKLAllegro(
            down_block_types=("AllegroDownBlock3D",) * 4,
            up_block_types=("AllegroUpBlock3D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
        )
        # It decodes in tiles only, of this many frames and pixels.
        made.enable_tiling()
        made.kernel, made.stride = (8, 16, 16), (4, 8, 8)
        return made

    return seeded(
        diffusers.AllegroPipeline,
        lambda: with_t5(
            diffusers.AllegroTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                cross_attention_dim=24,
                sample_width=8,
                sample_height=8,
                sample_frames=8,
                caption_channels=24,
            ),
            vae(),
            diffusers.DDIMScheduler(),
            width=24,
        ),
    )


def latte():
    # Twice as many channels out as in: the rest is the learnt sigma.
    return seeded(
        diffusers.LattePipeline,
        lambda: with_t5(
            diffusers.LatteTransformer3DModel(
                sample_size=8,
                video_length=2,
                num_layers=2,
                patch_size=2,
                attention_head_dim=8,
                num_attention_heads=3,
                caption_channels=32,
                in_channels=4,
                cross_attention_dim=24,
                out_channels=8,
                attention_bias=True,
                activation_fn="gelu-approximate",
                num_embeds_ada_norm=1000,
                norm_type="ada_norm_single",
                norm_elementwise_affine=False,
                norm_eps=1e-6,
            ),
            vaes.image(4),
            diffusers.DDIMScheduler(),
        ),
    )


class NoGuardrail(diffusers.ModelMixin, diffusers.ConfigMixin):
    """Lets every prompt and video of Cosmos pass: the true guardrail is a model of many gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        # diffusers asks every module of a pipeline for its device.
        self.register_buffer("placed", torch.zeros(1), persistent=False)

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames):
        return frames


def cosmos_model(channels: int, conditions: int):
    """Cosmos's transformer on latents and this many channels of condition."""
    return diffusers.CosmosTransformer3DModel(
        in_channels=channels + conditions,
        out_channels=channels,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(2.0, 1.0, 1.0),
        # With a padding mask it needs torchvision.
        concat_padding_mask=False,
        extra_pos_embed_type="learnable",
    )


def cosmos(pipeline_class, conditions: int):
    """One of the pipelines of Cosmos 1, which works on EDM's noise levels."""
    return seeded(
        pipeline_class,
        lambda: with_t5(
            cosmos_model(4, conditions),
            vaes.cosmos(),
            diffusers.EDMEulerScheduler(
                sigma_min=0.002, sigma_max=80, sigma_schedule="karras", final_sigmas_type="sigma_min"
            ),
            safety_checker=NoGuardrail(),
        ),
    )


def cosmos2():
    return seeded(
        diffusers.Cosmos2VideoToWorldPipeline,
        lambda: with_t5(
            cosmos_model(16, 1),
            vaes.wan(),
            diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
            safety_checker=NoGuardrail(),
        ),
    )


def cosmos2_5():
    return seeded(
        diffusers.Cosmos2_5_PredictBasePipeline,
        lambda: {
            "transformer": cosmos_model(16, 1),
            "vae": vaes.wan(),
            "scheduler": diffusers.UniPCMultistepScheduler(),
            "text_encoder": text.qwen(),
            "tokenizer": text.tokenizer(),
            "safety_checker": NoGuardrail(),
        },
    )


def sana(pipeline_class, scheduler):
    """One of the pipelines of Sana-Video."""
    return seeded(
        pipeline_class,
        lambda: {
            "transformer": diffusers.SanaVideoTransformer3DModel(
                in_channels=16,
                out_channels=16,
                num_attention_heads=2,
                attention_head_dim=12,
                num_layers=2,
                num_cross_attention_heads=2,
                cross_attention_head_dim=12,
                cross_attention_dim=24,
                caption_channels=8,
                mlp_ratio=2.5,
                sample_size=8,
                patch_size=(1, 2, 2),
                qk_norm="rms_norm_across_heads",
                rope_max_seq_len=32,
            ),
            "vae": vaes.wan(),
            "scheduler": scheduler(),
            "text_encoder": text.gemma2(),
            "tokenizer": text.tokenizer(),
        },
    )


def motif():
    from diffusers.guiders import AdaptiveProjectedGuidance

    return seeded(
        diffusers.MotifVideoPipeline,
        lambda: {
            "transformer": diffusers.MotifVideoTransformer3DModel(
                in_channels=33,
                out_channels=16,
                num_attention_heads=2,
                attention_head_dim=12,
                num_layers=2,
                num_single_layers=2,
                patch_size=1,
                patch_size_t=1,
                qk_norm="rms_norm",
                text_embed_dim=32,
                rope_axes_dim=(4, 4, 4),
            ),
            "vae": vaes.wan(),
            "scheduler": flow_euler(),
            "text_encoder": text.t5gemma2(),
            "tokenizer": text.tokenizer(),
            "feature_extractor": None,
            "guider": AdaptiveProjectedGuidance(),
        },
    )


def world() -> Arguments:
    return {**GUIDED, "guidance_scale": 3.0, "height": 32, "width": 32, "num_frames": 9}


def sana_plain() -> Arguments:
    return {
        **GUIDED,
        "height": 32,
        "width": 32,
        "frames": 9,
        "complex_human_instruction": [],
        "use_resolution_binning": False,
    }


IMAGE = frozenset({"image"})
EDM = frozenset({"timestep is a noise level"})
WIDER = {"width": 64}
ROWS = [
    Toy(
        "cogvideox",
        lambda: cogvideox(diffusers.CogVideoXPipeline),
        lambda: {**GUIDED, **SIZE, "num_frames": 9},
    ),
    Toy(
        "cogvideox_i2v",
        cogvideox_i2v,
        lambda: {**GUIDED, **SIZE, "num_frames": 9, "image": picture()},
        has=IMAGE,
        stops={"wider": "different resolution", "two prompts": "Sizes of tensors must match"},
    ),
    Toy(
        "cogvideox_v2v",
        lambda: cogvideox(diffusers.CogVideoXVideoToVideoPipeline),
        lambda: {**GUIDED, **SIZE, "video": [picture()] * 9},
        has=frozenset({"strength"}),
        steps=10,
    ),
    Toy("mochi", mochi, lambda: {**GUIDED, **SIZE, "num_frames": 7}),
    Toy("allegro", allegro, lambda: {**GUIDED, **SIZE, "num_frames": 8}),
    Toy(
        "latte",
        latte,
        lambda: {**GUIDED, "height": 8, "width": 8, "video_length": 2, "clean_caption": False},
        wider={"width": 16},
        has=frozenset({"learnt sigma"}),
    ),
    Toy("cosmos", lambda: cosmos(diffusers.CosmosTextToWorldPipeline, 0), world, wider=WIDER, has=EDM),
    Toy(
        "cosmos_v2w",
        lambda: cosmos(diffusers.CosmosVideoToWorldPipeline, 1),
        lambda: {**world(), "image": picture(32)},
        wider=WIDER,
        has=EDM | IMAGE,
    ),
    Toy("cosmos2_v2w", cosmos2, lambda: {**world(), "image": picture(32)}, wider=WIDER, has=EDM | IMAGE),
    Toy(
        "cosmos2_5",
        cosmos2_5,
        # Its system prompt is long, byte by byte.
        lambda: {**world(), "max_sequence_length": 256},
        wider=WIDER,
        has=EDM,
    ),
    Toy(
        "sana_video",
        lambda: sana(diffusers.SanaVideoPipeline, diffusers.DPMSolverMultistepScheduler),
        sana_plain,
        wider=WIDER,
    ),
    Toy(
        "sana_video_i2v",
        lambda: sana(diffusers.SanaImageToVideoPipeline, diffusers.FlowMatchEulerDiscreteScheduler),
        lambda: {**sana_plain(), "image": picture(32)},
        wider=WIDER,
        has=IMAGE,
        stops={"two videos": "The size of tensor a"},
    ),
    Toy(
        "motif_video",
        motif,
        lambda: {"prompt": "", "negative_prompt": "blurred", **SIZE, "num_frames": 9},
        unguided={},
        has=frozenset({"guider"}),
    ),
]
