"""What is known of HunyuanVideo and its tasks before the official code is loaded.

Sources: Tencent-Hunyuan/HunyuanVideo at fa14b00 (README.md, hyvideo/config.py, hyvideo/inference.py).
"""

from __future__ import annotations

from backends.official.repositories import Official

HUNYUAN = Official(
    name="hunyuan",
    title="HunyuanVideo",
    url="https://github.com/Tencent-Hunyuan/HunyuanVideo",
    package="hyvideo",
    # HunyuanVideo-I2V has the other two as well, but sample_image2video.py instead of this program.
    files=("sample_video.py", "hyvideo/inference.py", "hyvideo/modules/attenion.py"),
    tested_commit="fa14b001c18f37191c938a9ef6baad3b9b472759",
)

# Task to the official --model-resolution. Both use the same weights.
TASKS = {"t2v-544p": "540p", "t2v-720p": "720p"}

# Attention heads of the official transformer, and of the small random one.
HEADS, SMALL_HEADS = 24, 4

# A token of the transformer covers 16×16 pixels: the VAE's 8×8 and patches of 2×2.
TOKEN_PIXELS = 16


def repeated_timesteps(steps: int, shift: float) -> int:
    """Count the steps whose timestep equals the one before, in float32 as the official scheduler has them.

    The cache knows a step by its timestep and would take two steps for one; the official scheduler looks its
    first one up by value and would start at the wrong place. Only a shift in the ten thousands does this.
    Source: hyvideo/diffusion/schedulers/scheduling_flow_match_discrete.py at fa14b00.

    Args:
        steps: N, the number of steps.
        shift: s in sigma <- s sigma / (1 + (s - 1) sigma).
    """
    import torch

    sigmas = torch.linspace(1, 0, steps + 1)
    timesteps = 1000 * ((shift * sigmas) / (1 + (shift - 1) * sigmas))[:-1]
    return steps - len(set(timesteps.tolist()))
