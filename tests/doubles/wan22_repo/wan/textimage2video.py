import torch
from tqdm import tqdm

from .modules.model import WanModel
from .modules.t5 import T5EncoderModel
from .modules.vae2_2 import Wan2_2_VAE
from .sampling import configured, denoise, encode, first_frame, noise_like, pixels_of, start


class WanTI2V:
    def __init__(
        self, config, checkpoint_dir, device_id=0, rank=0, t5_fsdp=False, dit_fsdp=False, use_sp=False,
        t5_cpu=False, init_on_cpu=True, convert_model_dtype=False,
    ):  # fmt: skip
        device = torch.device(f"cuda:{device_id}")
        start(self, config, checkpoint_dir, device, rank, t5_cpu, T5EncoderModel, Wan2_2_VAE)
        model = WanModel.from_pretrained(checkpoint_dir)
        self.model = configured(self, model, use_sp, dit_fsdp, convert_model_dtype)

    def generate(
        self, input_prompt, img=None, size=(1280, 704), max_area=704 * 1280, frame_num=81, shift=5.0,
        sample_solver="unipc", sampling_steps=50, guide_scale=5.0, n_prompt="", seed=-1, offload_model=True,
    ):  # fmt: skip
        height, width = (size[1], size[0]) if img is None else pixels_of(img, max_area, 32)
        noise, tokens = noise_like(self, frame_num, height, width, seed)
        contexts = encode(self, input_prompt, n_prompt, offload_model)
        given = None
        if img is not None:
            given = self.vae.encode([first_frame(img, 1, height, width).to(self.device)])[0]
        arguments = {"seq_len": tokens}
        return denoise(
            self, tqdm, noise, contexts, arguments, sample_solver, sampling_steps, shift, guide_scale, given
        )
