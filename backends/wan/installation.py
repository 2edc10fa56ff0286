"""What Wan2.1 and Wan2.2 need on a machine.

Sources: Wan-Video/Wan2.1 at 9737cba: requirements.txt and what its pipelines import (not its web interface,
prompt extension or flash-attn), README.md and its table "Computational Efficiency" (assets/comp_effic.png)
for memory. Disk space: 4 bytes a parameter of the transformer, 11.4 GB of T5, 0.5 GB of VAE, and 4.8 GB of
CLIP for pictures. Wan-Video/Wan2.2 at 42bf4cf in the same way, without speech and animation; two transformers
for each A14B, and 2.8 GB of VAE for the 5B.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from backends.official.installation import Download, Installation, Memory, Package, Weights
from backends.official.repositories import Checkout, Official
from backends.wan.tasks import TASKS, WAN, WAN22
from backends.wan.weights import known_config, locate_weights


def _weights(name: str, gigabytes: float, task: str) -> Weights:
    def locate(given: str, checkout: Checkout | None, fp8: bool) -> list[Path]:
        return [locate_weights(given, name, TASKS[task], known_config(task), checkout)]

    return Weights(name, (Download(f"Wan-AI/{name}"),), gigabytes, locate)


def _import(official: Official, checkout: Checkout) -> None:
    from backends.wan.loading import import_official

    import_official(official, checkout)


def _memory(gigabytes: float, source: str, *tasks: str) -> dict[str, Memory]:
    return {task: Memory(gigabytes, source) for task in tasks}


# The versions that Wan2.2 asks for are the same.
_PACKAGES = (
    Package("torchvision"),
    Package("diffusers>=0.31.0"),
    Package("transformers>=4.49.0"),
    Package("tokenizers>=0.20.3"),
    Package("accelerate>=1.1.1"),
    Package("easydict"),
    Package("ftfy"),
    Package("regex"),
    Package("tqdm"),
    Package("pillow", "PIL"),
)

INSTALLATION = Installation(
    official=WAN,
    packages=_PACKAGES,
    weights=(
        _weights("Wan2.1-T2V-1.3B", 18, "t2v-1.3B"),
        _weights("Wan2.1-T2V-14B", 70, "t2v-14B"),
        _weights("Wan2.1-I2V-14B-480P", 83, "i2v-14B"),
        _weights("Wan2.1-I2V-14B-720P", 83, "i2v-14B"),
        _weights("Wan2.1-FLF2V-14B-720P", 83, "flf2v-14B"),
        _weights("Wan2.1-VACE-1.3B", 20, "vace-1.3B"),
        _weights("Wan2.1-VACE-14B", 82, "vace-14B"),
    ),
    weights_name=lambda task, size: TASKS[task].weights_name(size),
    memory={
        **_memory(8.19, "Wan2.1 README: with offloading and T5 on the CPU", "t2v-1.3B", "vace-1.3B"),
        **_memory(69.1, "Wan2.1 README: 720p, with offloading", "t2v-14B", "t2i-14B", "vace-14B"),
        **_memory(76.7, "Wan2.1 README: 720p, with offloading", "i2v-14B", "flf2v-14B"),
    },
    import_code=partial(_import, WAN),
)

_COMMAND = "Wan2.2 README: 720p, with offloading and weights in bfloat16"
WAN22_INSTALLATION = Installation(
    official=WAN22,
    packages=_PACKAGES,
    weights=(
        _weights("Wan2.2-T2V-A14B", 127, "t2v-A14B"),
        _weights("Wan2.2-I2V-A14B", 127, "i2v-A14B"),
        _weights("Wan2.2-TI2V-5B", 35, "ti2v-5B"),
    ),
    weights_name=lambda task, size: TASKS[task].weights_name(size),
    memory={
        **_memory(80, _COMMAND, "t2v-A14B", "i2v-A14B"),
        **_memory(24, f"{_COMMAND}, T5 on the CPU", "ti2v-5B"),
    },
    import_code=partial(_import, WAN22),
)
