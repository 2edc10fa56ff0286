import os
from math import sqrt

import numpy as np
import torch
from tqdm import tqdm

from .modules.clip import CLIPModel
from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae import WanVAE
from .sampling import denoise, encode


class WanI2V:
    def __init__(
        self, config, checkpoint_dir, device_id=0, rank=0, t5_fsdp=False, dit_fsdp=False, use_usp=False,
        t5_cpu=False, init_on_cpu=True,
    ):  # fmt: skip
        self.device = torch.device(f"cuda:{device_id}")
        self.t5_cpu, self.param_dtype, self.rank = t5_cpu, config.param_dtype, rank
        self.sample_neg_prompt = config.sample_neg_prompt
        self.text_encoder = T5EncoderModel(
            text_len=config.text_len,
            dtype=config.t5_dtype,
            device=torch.device("cpu"),
            checkpoint_path=os.path.join(checkpoint_dir, config.t5_checkpoint),
            tokenizer_path=os.path.join(checkpoint_dir, config.t5_tokenizer),
            shard_fn=None,
        )
        self.vae = WanVAE(vae_pth=os.path.join(checkpoint_dir, config.vae_checkpoint), device=self.device)
        self.clip = CLIPModel(
            dtype=config.clip_dtype,
            device=self.device,
            checkpoint_path=os.path.join(checkpoint_dir, config.clip_checkpoint),
            tokenizer_path=os.path.join(checkpoint_dir, config.clip_tokenizer),
        )
        self.model = WanModel.from_pretrained(checkpoint_dir)
        self.model.eval().requires_grad_(False)

    def generate(
        self, input_prompt, img, max_area=720 * 1280, frame_num=81, shift=5.0, sample_solver="unipc",
        sampling_steps=40, guide_scale=5.0, n_prompt="", seed=-1, offload_model=True,
    ):  # fmt: skip
        picture = torch.from_numpy(np.array(img)).permute(2, 0, 1).float().to(self.device) / 127.5 - 1
        aspect = picture.shape[1] / picture.shape[2]
        height, width = (int(sqrt(max_area * ratio)) // 16 * 2 for ratio in (aspect, 1 / aspect))
        generator = torch.Generator(device=self.device).manual_seed(seed)
        shape = (16, (frame_num - 1) // 4 + 1, height, width)
        noise = torch.randn(shape, device=self.device, generator=generator)
        contexts = encode(self, input_prompt, n_prompt, offload_model)
        features = self.clip.visual([picture[:, None]])
        first = torch.nn.functional.interpolate(picture[None], (8 * height, 8 * width), mode="bicubic")
        blank = torch.zeros(3, frame_num - 1, 8 * height, 8 * width, device=self.device)
        latents = self.vae.encode([torch.cat([first[0, :, None], blank], dim=1)])[0]
        mask = torch.zeros(4, *latents.shape[1:], device=self.device)
        mask[:, 0] = 1
        seq_len = shape[1] * height * width // 4
        arguments = {"seq_len": seq_len, "clip_fea": features, "y": [torch.cat([mask, latents])]}
        return denoise(
            self, tqdm, noise, contexts, arguments, sample_solver, sampling_steps, shift, guide_scale,
            offload_model,
        )  # fmt: skip
