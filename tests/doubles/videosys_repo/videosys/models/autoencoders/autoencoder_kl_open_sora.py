from torch import nn


class AutoencoderKL:
    """Of diffusers."""


class VideoAutoencoderPipeline(nn.Module):
    """Its weights are not of this double."""


def OpenSoraVAE_V1_2(micro_batch_size=4, micro_frame_size=17, from_pretrained=None):  # noqa: N802
    assert from_pretrained == "hpcai-tech/OpenSora-VAE-v1.2"
    return VideoAutoencoderPipeline.from_pretrained(from_pretrained, micro_frame_size=micro_frame_size)
