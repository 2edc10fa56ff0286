import torch
from tqdm import tqdm

from .constants import PRECISION_TO_TYPE


class FlowMatchDiscreteScheduler:
    def __init__(self, shift, reverse, solver="euler"):
        self.shift, self.reverse = shift, reverse

    def set_timesteps(self, steps):
        sigmas = torch.linspace(1, 0, steps + 1)
        sigmas = self.shift * sigmas / (1 + (self.shift - 1) * sigmas)
        self.sigmas = sigmas if self.reverse else 1 - sigmas
        self.timesteps = self.sigmas[:-1] * 1000


class HunyuanVideoPipeline:
    def __init__(self, vae, text_encoder, text_encoder_2, transformer, args):
        self.vae, self.text_encoder, self.text_encoder_2 = vae, text_encoder, text_encoder_2
        self.transformer, self.args, self.disabled = transformer, args, False

    def set_progress_bar_config(self, disable):
        self.disabled = disable

    def encode(self, prompt, negative_prompt, data_type, device):
        parts = []
        for encoder in (self.text_encoder, self.text_encoder_2):
            texts = [*negative_prompt, *prompt] if self.guided else prompt
            tokens = encoder.text2tokens(texts, data_type=data_type)
            parts.append(encoder.encode(tokens, data_type=data_type, device=device))
        return parts

    @torch.no_grad()
    def __call__(
        self, prompt, negative_prompt, height, width, video_length, steps, guidance_scale, generator,
        embedded_guidance_scale, freqs_cis, data_type, device,
    ):  # fmt: skip
        self.guided = guidance_scale > 1
        text, text_2 = self.encode(prompt, negative_prompt, data_type, device)
        self.scheduler.set_timesteps(steps)
        times = self.scheduler.timesteps.to(device)
        shape = (1, self.transformer.in_channels, (video_length - 1) // 4 + 1, height // 8, width // 8)
        latents = torch.randn(shape, generator=generator[0], device=device, dtype=self.text_encoder.dtype)
        dtype = PRECISION_TO_TYPE[self.args.precision]
        for i, t in enumerate(tqdm(times, disable=self.disabled)):
            x = torch.cat([latents] * 2) if self.guided else latents
            guidance = torch.tensor([embedded_guidance_scale] * len(x), device=device).to(dtype) * 1000.0
            enabled = dtype != torch.float32 and not self.args.disable_autocast
            with torch.autocast(device_type="cuda", dtype=dtype, enabled=enabled):
                y = self.transformer(
                    x, t.repeat(len(x)), text_states=text.hidden_state, text_mask=text.attention_mask,
                    text_states_2=text_2.hidden_state, freqs_cos=freqs_cis[0], freqs_sin=freqs_cis[1],
                    guidance=guidance, return_dict=True,
                )["x"]  # fmt: skip
            if self.guided:
                uncond, cond = y.chunk(2)
                y = uncond + guidance_scale * (cond - uncond)
            latents = latents.float() + y.float() * (self.scheduler.sigmas[i + 1] - self.scheduler.sigmas[i])
        latents = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        image = self.vae.decode(latents, return_dict=False, generator=generator)[0]
        image = image.squeeze(2) if image.shape[2] == 1 else image
        return [(image / 2 + 0.5).clamp(0, 1).cpu().float()]
