from pathlib import Path

import torch

from hyvideo.constants import NEGATIVE_PROMPT, PRECISION_TO_TYPE, PROMPT_TEMPLATE
from hyvideo.modules import load_model
from hyvideo.modules.fp8_optimization import convert_fp8_linear
from hyvideo.pipeline import FlowMatchDiscreteScheduler, HunyuanVideoPipeline
from hyvideo.text_encoder import TextEncoder
from hyvideo.vae import load_vae


class Inference:
    @classmethod
    def from_pretrained(cls, pretrained_model_path, args, device=None, **kwargs):
        torch.set_grad_enabled(False)
        model = load_model(
            args, in_channels=args.latent_channels, out_channels=args.latent_channels,
            factor_kwargs={"device": device, "dtype": PRECISION_TO_TYPE[args.precision]},
        )  # fmt: skip
        if args.use_fp8:
            convert_fp8_linear(model, args.dit_weight, original_dtype=PRECISION_TO_TYPE[args.precision])
        model = Inference.load_state_dict(args, model.to(device), pretrained_model_path).eval()
        vae, _, _, _ = load_vae(args.vae, args.vae_precision, logger=None, device=device)
        template, video = (PROMPT_TEMPLATE[name] for name in ("dit-llm-encode", "dit-llm-encode-video"))
        encoder = TextEncoder(
            text_encoder_type="llm", max_length=args.text_len + video["crop_start"], tokenizer_type="llm",
            text_encoder_precision=args.text_encoder_precision, prompt_template=template,
            prompt_template_video=video, hidden_state_skip_layer=2, apply_final_norm=False, reproduce=False,
            logger=None, device=device,
        )  # fmt: skip
        encoder_2 = TextEncoder(
            text_encoder_type="clipL", max_length=args.text_len_2, tokenizer_type="clipL",
            text_encoder_precision=args.text_encoder_precision_2, reproduce=False, logger=None, device=device,
        )  # fmt: skip
        return cls(args, HunyuanVideoPipeline(vae, encoder, encoder_2, model, args), device)

    @staticmethod
    def load_state_dict(args, model, pretrained_model_path):
        assert isinstance(pretrained_model_path, Path)
        state = torch.load(args.dit_weight, map_location=lambda storage, loc: storage)
        model.load_state_dict(state[args.load_key])
        return model


class HunyuanVideoSampler(Inference):
    def __init__(self, args, pipeline, device):
        self.args, self.pipeline, self.device = args, pipeline, device
        self.default_negative_prompt = NEGATIVE_PROMPT

    @torch.no_grad()
    def predict(
        self, prompt, height=192, width=336, video_length=129, seed=None, negative_prompt=None,
        infer_steps=50, guidance_scale=6.0, flow_shift=5.0, embedded_guidance_scale=None, batch_size=1,
        num_videos_per_prompt=1, **kwargs,
    ):  # fmt: skip
        generator = [torch.Generator(self.device).manual_seed(seed)]
        negative_prompt = negative_prompt or self.default_negative_prompt
        self.pipeline.scheduler = FlowMatchDiscreteScheduler(flow_shift, self.args.flow_reverse)
        samples = self.pipeline(
            [prompt.strip()], [negative_prompt.strip()], height, width, video_length, infer_steps,
            guidance_scale, generator, embedded_guidance_scale, freqs_cis=(None, None),
            data_type="video" if video_length > 1 else "image", device=self.device,
        )[0]  # fmt: skip
        return {"samples": samples, "prompts": [prompt], "seeds": [seed]}
