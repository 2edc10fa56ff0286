"""What Open-Sora 1.2 needs on a machine: through its own repository, or through VideoSys.

Sources: hpcaitech/Open-Sora at v1.2.0 and NUS-HPC-AI-Lab/VideoSys at 4cce477: their requirements and what
inference imports (no training, data, web or evaluation packages), opensora/models/vae/vae.py and
configs/opensora-v1-2/inference/sample.py for the weights, Open-Sora's README.md for memory.
"""

from __future__ import annotations

from backends.installation import Download, Installation, Memory, Package, Weights
from backends.repositories import Official

from .facts import OPENSORA, TOGETHER, VIDEOSYS

# Without ColossalAI and xformers, which inference on one GPU never calls and which want an old torch.
_COMMON = (
    Package("torchvision"),
    Package("diffusers>=0.27.2"),
    Package("transformers>=4.36.2,<5"),
    Package("accelerate>=0.29.2"),
    Package("sentencepiece"),
    Package("protobuf", "google.protobuf"),
    Package("timm>=0.9.16"),
    Package("rotary_embedding_torch>=0.5.3"),
    Package("ftfy>=6.2.0"),
    Package("beautifulsoup4", "bs4"),
    Package("requests"),
    Package("tqdm"),
    Package("pillow", "PIL"),
)
_WEIGHTS = Weights(
    name=TOGETHER,
    downloads=(
        Download("hpcai-tech/OpenSora-STDiT-v3", "OpenSora-STDiT-v3"),
        Download("hpcai-tech/OpenSora-VAE-v1.2", "OpenSora-VAE-v1.2"),
        Download("DeepFloyd/t5-v1_1-xxl", "t5-v1_1-xxl"),
        Download(
            "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers", "pixart_sigma_sdxlvae_T5_diffusers", ("vae/*",)
        ),
    ),
    files=(
        "OpenSora-STDiT-v3/config.json",
        "OpenSora-STDiT-v3/model*.safetensors*",
        "OpenSora-VAE-v1.2/config.json",
        "OpenSora-VAE-v1.2/model*.safetensors*",
        "t5-v1_1-xxl/config.json",
        "t5-v1_1-xxl/tokenizer_config.json",
        "t5-v1_1-xxl/spiece.model",
        "t5-v1_1-xxl/pytorch_model*.bin*",
        "pixart_sigma_sdxlvae_T5_diffusers/vae/config.json",
        "pixart_sigma_sdxlvae_T5_diffusers/vae/diffusion_pytorch_model.safetensors",
    ),
    folder="",  # Each download has a folder of its own among the weights.
    # 4 bytes a parameter: 19 GB of T5's encoder, 4.6 GB of transformer, 2 GB of VAEs.
    gigabytes=27,
)
_MEMORY = {"t2v": Memory(31, "Open-Sora README: 480p, 2 s; 720p takes 41")}


def _installation(official: Official, *own: Package) -> Installation:
    return Installation(
        official=official,
        packages=(*_COMMON, *own),
        weights=(_WEIGHTS,),
        weights_name=lambda task, size: _WEIGHTS.name,
        memory=_MEMORY,
        beside="",
        marker="OpenSora-STDiT-v3",
    )


INSTALLATION = _installation(
    OPENSORA,
    Package("mmengine>=0.10.3"),
    Package("pandas>=2.0.3"),
    Package("av>=12.0.0"),
    Package("opencv-python-headless", "cv2"),
)
VIDEOSYS_INSTALLATION = _installation(VIDEOSYS, Package("omegaconf"), Package("imageio"))
