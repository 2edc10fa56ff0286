from types import SimpleNamespace

import torch
import torch.distributed as dist

from videosys.models.autoencoders.autoencoder_kl_open_sora import OpenSoraVAE_V1_2
from videosys.models.transformers.open_sora_transformer_3d import STDiT3
from videosys.schedulers.scheduling_rflow_open_sora import RFLOW

from .data_process import get_image_size, prepare_multi_resolution_info


class AutoTokenizer:
    """Of transformers."""


class T5EncoderModel:
    """Of transformers."""


class OpenSoraConfig:
    def __init__(
        self,
        transformer="hpcai-tech/OpenSora-STDiT-v3",
        vae="hpcai-tech/OpenSora-VAE-v1.2",
        text_encoder="DeepFloyd/t5-v1_1-xxl",
        num_sampling_steps=30,
        cfg_scale=7.0,
        enable_flash_attn=False,
    ):
        self.transformer, self.vae, self.text_encoder = transformer, vae, text_encoder
        self.num_sampling_steps, self.cfg_scale = num_sampling_steps, cfg_scale
        self.enable_flash_attn = enable_flash_attn


class OpenSoraPipeline:
    def __init__(self, config, device="cuda", dtype=torch.bfloat16):
        self._device, self._dtype = device, dtype
        self.text_encoder = T5EncoderModel.from_pretrained(config.text_encoder).to(dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(config.text_encoder)
        vae = OpenSoraVAE_V1_2(from_pretrained=config.vae, micro_frame_size=17, micro_batch_size=4)
        transformer = STDiT3.from_pretrained(config.transformer, enable_flash_attn=config.enable_flash_attn)
        self.vae, self.transformer = (part.to(device, dtype).eval() for part in (vae, transformer))
        self.scheduler = RFLOW(
            use_timestep_transform=True,
            num_sampling_steps=config.num_sampling_steps,
            cfg_scale=config.cfg_scale,
        )
        self.transformer.enable_parallel(1, dist.get_world_size(), False)

    @torch.no_grad()
    def generate(
        self, prompt, resolution="480p", aspect_ratio="9:16", num_frames=51, seed=-1, verbose=True
    ):  # fmt: skip
        size = get_image_size(resolution, aspect_ratio)
        torch.manual_seed(seed)
        arguments = prepare_multi_resolution_info(
            "OpenSora", 1, size, num_frames, 24, self._device, self._dtype
        )
        tokens = self.tokenizer([f"{prompt} aesthetic score: 6.5."], max_length=300, padding="max_length")
        arguments["y"] = self.text_encoder(**tokens)["last_hidden_state"][:, None]
        arguments["mask"] = tokens["attention_mask"]
        z = torch.randn(1, self.vae.out_channels, *self.vae.get_latent_size((num_frames, *size)))
        z = self.scheduler.sample(
            self.transformer,
            z=z.to(self._device, self._dtype),
            model_args=arguments,
            y_null=self.transformer.y_embedder.y_embedding[None, None],
            device=self._device,
            progress=verbose,
            mask=torch.ones(1, z.shape[2], device=self._device),
        )
        video = self.vae(z.to(self._dtype), decode_only=True, num_frames=num_frames)
        video = (255 * (video.clamp(-1, 1) + 1) / 2 + 0.5).clamp(0, 255)
        return SimpleNamespace(video=video.permute(0, 2, 3, 4, 1).to("cpu", torch.uint8))
