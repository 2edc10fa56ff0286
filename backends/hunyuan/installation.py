"""What HunyuanVideo needs on a machine.

Sources: Tencent-Hunyuan/HunyuanVideo at fa14b00: requirements.txt and what hyvideo imports (not its web
interface), ckpts/README.md for the weights, hyvideo/constants.py and hyvideo/vae for their files, README.md
for memory. The official requirements pin diffusers 0.31.0 and transformers 4.46.3; here they are lower
bounds, so that one environment can hold several families; transformers 5 has moved what the code asks for.
"""

from __future__ import annotations

from backends.installation import Download, Installation, Memory, Package, Weights

from .tasks import HUNYUAN

_CLIP = "openai/clip-vit-large-patch14"
_LLAVA = "llava-llama-3-8b-v1_1-transformers"

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
            files=(
                "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
                "hunyuan-video-t2v-720p/vae/config.json",
                "hunyuan-video-t2v-720p/vae/pytorch_model.pt",
                "text_encoder/config.json",
                "text_encoder/tokenizer_config.json",
                "text_encoder/model*.safetensors*",
                "text_encoder_2/config.json",
                "text_encoder_2/tokenizer_config.json",
                "text_encoder_2/model.safetensors",
            ),
            # 26 GB of transformer and 13 GB of it in fp8, 1 GB of VAE, 16 GB of LLaVA, twice, 2 GB of CLIP.
            gigabytes=75,
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
    beside="ckpts",
    marker="hunyuan-video-t2v-720p",  # The checkout has a folder ckpts without weights, too.
)  # fmt: skip
