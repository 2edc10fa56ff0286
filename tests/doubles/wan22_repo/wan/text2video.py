import torch
from tqdm import tqdm

from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae2_1 import Wan2_1_VAE
from .sampling import denoise, encode, load_experts, noise_like, start


class WanT2V:
    def __init__(
        self, config, checkpoint_dir, device_id=0, rank=0, t5_fsdp=False, dit_fsdp=False, use_sp=False,
        t5_cpu=False, init_on_cpu=True, convert_model_dtype=False,
    ):  # fmt: skip
        device = torch.device(f"cuda:{device_id}")
        start(self, config, checkpoint_dir, device, rank, t5_cpu, T5EncoderModel, Wan2_1_VAE)
        load_experts(self, WanModel, checkpoint_dir, use_sp, dit_fsdp, convert_model_dtype)

    def generate(
        self, input_prompt, size=(1280, 720), frame_num=81, shift=5.0, sample_solver="unipc",
        sampling_steps=50, guide_scale=5.0, n_prompt="", seed=-1, offload_model=True,
    ):  # fmt: skip
        scales = (guide_scale, guide_scale) if isinstance(guide_scale, float) else guide_scale
        noise, tokens = noise_like(self, frame_num, size[1], size[0], seed)
        contexts = encode(self, input_prompt, n_prompt, offload_model)
        arguments = {"seq_len": tokens}
        return denoise(self, tqdm, noise, contexts, arguments, sample_solver, sampling_steps, shift, scales)
