"""Open-Sora 1.2 through VideoSys: its pipeline object in this process, and its own `generate`.

`VideoSysEngine` is left out: it exists to start further processes for further GPUs, and even for one it
insists on NCCL, a network port and a logger of its own. What it then does for one GPU is what is done here:
make the pipeline, and call its `generate`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

from backends.official.names import replaced
from navicache_cli.plan.plan import Plan
from navicache_cli.plan.presets import preset_for
from navicache_cli.plan.sizes import name_of_size

PIPELINE = "videosys.pipelines.open_sora.pipeline_open_sora"
AUTOENCODER = "videosys.models.autoencoders.autoencoder_kl_open_sora"


class VideoSysRoute:
    """VideoSys's OpenSoraPipeline.

    Args:
        plan: what is to be generated.
        device: where all parts go. In bfloat16 on a GPU, in float32 on a CPU.
    """

    modules = (PIPELINE,)
    classes: ClassVar[dict[str, str]] = {
        "STDiT3": PIPELINE,
        "VideoAutoencoderPipeline": AUTOENCODER,
        "AutoencoderKL": AUTOENCODER,
        "T5EncoderModel": PIPELINE,
        "AutoTokenizer": PIPELINE,
    }

    def __init__(self, plan: Plan, device: torch.device) -> None:
        module: Any = sys.modules[PIPELINE]
        on_gpu = device.type == "cuda"
        config = module.OpenSoraConfig(
            num_sampling_steps=plan.steps,
            cfg_scale=plan.guidance,
            enable_flash_attn=on_gpu and find_spec("flash_attn") is not None,
        )
        dtype = torch.bfloat16 if on_gpu else torch.float32
        with one_process_world():
            self.official = module.OpenSoraPipeline(config, device=device, dtype=dtype)
        self.transformer, self.vae = self.official.transformer, self.official.vae

    def generate(self, plan: Plan) -> Tensor:
        """Return the video [3, F, H, W], float in [-1, 1], of 256 values."""
        named = name_of_size(preset_for("opensora"), plan.size)
        assert named is not None, "a checked plan has a size with a name"
        resolution, aspect_ratio = named
        scheduler = self.official.scheduler
        settings = replaced(scheduler, num_sampling_steps=plan.steps, cfg_scale=plan.guidance)
        with one_process_world(), settings:
            output = self.official.generate(
                plan.prompt,
                resolution=resolution,
                aspect_ratio=aspect_ratio,
                num_frames=plan.frames,
                seed=plan.seed,
                verbose=False,
            )
        frames: Tensor = output.video[0]  # uint8 [F, H, W, 3]
        return rearrange(frames, "f h w c -> c f h w").float() / 127.5 - 1


@contextmanager
def one_process_world() -> Iterator[None]:
    """Inside the `with` block, a process group that VideoSys asks for its rank and size, unless there is one.

    A world of one never communicates, so that gloo will do for a GPU too, and a store in memory for a port.
    Other models in this process would take a group that stayed for a sign of several GPUs.
    """
    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
