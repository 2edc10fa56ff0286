"""What Open-Sora 1.2 needs on a machine: through its own repository, or through VideoSys.

Sources: hpcaitech/Open-Sora at v1.2.0 and NUS-HPC-AI-Lab/VideoSys at 4cce477: their requirements and what
inference imports (no training, data, web or evaluation packages), Open-Sora's README.md for memory.
"""

from __future__ import annotations

from pathlib import Path

from backends.official.installation import Download, Installation, Memory, Package, Weights
from backends.official.repositories import Checkout, Official
from backends.opensora.facts import IMAGE_VAE, OPENSORA, TEXT_ENCODER, TOGETHER, TRANSFORMER, VAE, VIDEOSYS
from backends.opensora.weights import FOLDERS, locate_weights

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


def _locate(given: str, checkout: Checkout | None, fp8: bool) -> list[Path]:
    return [*locate_weights(given, checkout).values()]


_WEIGHTS = Weights(
    name=TOGETHER,
    downloads=tuple(
        Download(name, FOLDERS[name].name, ("vae/*",) if name == IMAGE_VAE else ())
        for name in (TRANSFORMER, VAE, TEXT_ENCODER, IMAGE_VAE)
    ),
    locate=_locate,
    folder="",  # Each download has a folder of its own among the weights.
    # 4 bytes a parameter: 19 GB of T5's encoder, 4.6 GB of transformer, 2 GB of VAEs.
    gigabytes=27,
)
_MEMORY = {"t2v": Memory(31, "Open-Sora README: 480p, 2 s; 720p takes 41")}


def _installation(official: Official, *own: Package) -> Installation:
    def import_code(checkout: Checkout) -> None:
        from backends.opensora.loading import import_official

        import_official(official, checkout)

    return Installation(
        official=official,
        packages=(*_COMMON, *own),
        weights=(_WEIGHTS,),
        weights_name=lambda task, size: _WEIGHTS.name,
        memory=_MEMORY,
        import_code=import_code,
    )


INSTALLATION = _installation(
    OPENSORA,
    Package("mmengine>=0.10.3"),
    Package("pandas>=2.0.3"),
    Package("av>=12.0.0"),
    Package("opencv-python-headless", "cv2"),
)
VIDEOSYS_INSTALLATION = _installation(VIDEOSYS, Package("omegaconf"), Package("imageio"))
