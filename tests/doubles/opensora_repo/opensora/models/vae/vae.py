from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from opensora.registry import MODELS
from opensora.utils.ckpt_utils import GeneralCheckpointIO


class AutoencoderKL:
    @classmethod
    def from_pretrained(cls, name, subfolder=None):
        assert (Path(name) / subfolder / "config.json").is_file()
        return cls()


class VideoAutoencoderPipeline(nn.Module):
    out_channels = 4

    @classmethod
    def from_pretrained(cls, name, **_):
        model = cls()
        model.load_state_dict(load_file(Path(name) / "model.safetensors"))
        return model

    def __init__(self):
        super().__init__()
        self.spatial = AutoencoderKL.from_pretrained(
            "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers", subfolder="vae"
        )
        self.colours = nn.Linear(4, 3)

    def get_latent_size(self, input_size):
        frames, height, width = input_size
        whole, rest = divmod(frames, 17)
        return [5 * whole + (rest + 3) // 4, height // 8, width // 8]

    def decode(self, z, num_frames=None):
        video = self.colours(z.movedim(1, -1)).tanh().movedim(-1, 1)
        return nn.functional.interpolate(video, (num_frames, 8 * z.shape[3], 8 * z.shape[4]))


@MODELS.register_module("OpenSoraVAE_V1_2")
def make(from_pretrained=None, micro_frame_size=17, micro_batch_size=4):
    if not from_pretrained.startswith("hpcai-tech/"):
        return GeneralCheckpointIO(from_pretrained)  # the original reads folders of its own training so
    return VideoAutoencoderPipeline.from_pretrained(from_pretrained)
