"""What HunyuanVideo needs on a machine.

Sources: Tencent-Hunyuan/HunyuanVideo at fa14b00: requirements.txt and what hyvideo imports (not its web
interface), ckpts/README.md for the weights, README.md for memory. The official requirements pin diffusers
0.31.0 and transformers 4.46.3; here they are lower bounds, so that one environment can hold several families;
transformers 5 has moved what the code asks for.
"""

from __future__ import annotations

from pathlib import Path

from backends.hunyuan.tasks import HUNYUAN
from backends.hunyuan.weights import (
    KNOWN_CHANNELS,
    KNOWN_CONFIG,
    check_transformer,
    locate_weights,
    reading_errors,
    transformer_file,
)
from backends.official.installation import Download, Installation, Memory, Package, Weights
from backends.official.repositories import Checkout

_CLIP = "openai/clip-vit-large-patch14"
_LLAVA = "llava-llama-3-8b-v1_1-transformers"


def _locate(given: str, checkout: Checkout | None, fp8: bool) -> list[Path]:
    folder = locate_weights(given, fp8, checkout)
    with reading_errors(folder):
        check_transformer(transformer_file(folder, fp8), KNOWN_CONFIG, KNOWN_CHANNELS)
    return [folder]


def _import(checkout: Checkout) -> None:
    from backends.hunyuan.loading import import_hunyuan

    import_hunyuan(checkout)


INSTALLATION = Installation(
    official=HUNYUAN,
    packages=(
        Package("torchvision"),
        Package("diffusers>=0.31.0"),
        Package("transformers>=4.46.3,<5"),
        Package("tokenizers>=0.20.3"),
        Package("accelerate>=1.1.1"),
        Package("loguru"),
        Package("tqdm"),
        Package("packaging"),
    ),
    weights=(
        Weights(
            name="HunyuanVideo",
            downloads=(
                Download("tencent/HunyuanVideo"),
                Download(f"xtuner/{_LLAVA}", _LLAVA),
                # That repository holds the same weights in four formats.
                Download(_CLIP, "text_encoder_2", ("*.json", "*.txt", "model.safetensors")),
            ),
            # 26 GB of transformer and 13 GB of it in fp8, 1 GB of VAE, 16 GB of LLaVA, twice, 2 GB of CLIP.
            gigabytes=75,
            locate=_locate,
            prepare=(
                "hyvideo/utils/preprocess_text_encoder_tokenizer_utils.py",
                "--input_dir", f"{{weights}}/{_LLAVA}",
                "--output_dir", "{weights}/text_encoder",
            ),
        ),
    ),
    weights_name=lambda task, size: "HunyuanVideo",
    memory={
        "t2v-544p": Memory(45, "HunyuanVideo README"),
        "t2v-720p": Memory(60, "HunyuanVideo README"),
    },
    import_code=_import,
)  # fmt: skip
