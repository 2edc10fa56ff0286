import os
import types

import torch
import torch.distributed as dist
from tqdm import tqdm

from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae import WanVAE
from .sampling import denoise, encode


class WanT2V:
    def __init__(
        self,
        config,
        checkpoint_dir,
        device_id=0,
        rank=0,
        t5_fsdp=False,
        dit_fsdp=False,
        use_usp=False,
        t5_cpu=False,
    ):
        assert not t5_fsdp
        assert not dit_fsdp, "this double has no FSDP"
        self.device = torch.device(f"cuda:{device_id}")
        self.rank = rank
        self.t5_cpu, self.param_dtype = t5_cpu, config.param_dtype
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
        self.model = WanModel.from_pretrained(checkpoint_dir)
        self.model.eval().requires_grad_(False)
        if use_usp:
            from .distributed.xdit_context_parallel import usp_dit_forward

            self.model.forward = types.MethodType(usp_dit_forward, self.model)
        if dist.is_initialized():
            dist.barrier()
        self.model.to(self.device)

    def generate(
        self, input_prompt, size=(1280, 720), frame_num=81, shift=5.0, sample_solver="unipc",
        sampling_steps=50, guide_scale=5.0, n_prompt="", seed=-1, offload_model=True,
    ):  # fmt: skip
        contexts = encode(self, input_prompt, n_prompt, offload_model)
        shape = (self.vae.model.z_dim, (frame_num - 1) // 4 + 1, size[1] // 8, size[0] // 8)
        generator = torch.Generator(device=self.device).manual_seed(seed)
        noise = torch.randn(shape, device=self.device, generator=generator)
        arguments = {"seq_len": shape[1] * shape[2] * shape[3] // 4}
        return denoise(
            self, tqdm, noise, contexts, arguments, sample_solver, sampling_steps, shift, guide_scale,
            offload_model,
        )  # fmt: skip
