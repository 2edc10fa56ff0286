"""What is known of Wan2.1 and its tasks before the official code is loaded.

Sources: Wan-Video/Wan2.1 at 9737cba (generate.py, wan/configs, README.md) and huggingface.co/Wan-AI.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.official.repositories import Official

WAN = Official(
    name="wan",
    title="Wan2.1",
    url="https://github.com/Wan-Video/Wan2.1",
    package="wan",
    # Wan2.2 has the first two as well, but no CLIP at this place.
    files=("wan/modules/model.py", "wan/text2video.py", "wan/modules/clip.py"),
    tested_commit="9737cba9c1c3c4d04b33fcad41c111989865d315",
)

VACE = "vace"  # model type of the tasks that change a given video, keep to reference pictures, or both


@dataclass(frozen=True)
class Task:
    """One task; its name is the key of the official WAN_CONFIGS.

    Attributes:
        pipeline: the official class.
        model_type: of its transformer, as in the weights' config.json.
        in_channels: of the transformer: 16 of latents, and for pictures 4 of mask and 16 of latents more.
        pictures: plan options with the pictures it needs.
        weights: name of the weights at huggingface.co/Wan-AI; `{height}` is 480P or 720P.
        frames: the only number of frames it can do, or 0 for any.
        transformer: the official class, as named in the pipeline's module.
    """

    pipeline: str
    model_type: str
    in_channels: int
    pictures: tuple[str, ...]
    weights: str
    frames: int = 0
    transformer: str = "WanModel"

    def weights_name(self, size: str) -> str:
        """Return the name of the weights for a size `WIDTHxHEIGHT`."""
        return self.weights.format(height="480P" if "480" in size.split("x") else "720P")


TASKS = {
    "t2v-1.3B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-1.3B"),
    "t2v-14B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-14B"),
    "t2i-14B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-14B", frames=1),
    "i2v-14B": Task("WanI2V", "i2v", 36, ("image",), "Wan2.1-I2V-14B-{height}"),
    # Its mask is written for 81 frames: wan/first_last_frame2video.py.
    "flf2v-14B": Task("WanFLF2V", "flf2v", 36, ("image", "last_image"), "Wan2.1-FLF2V-14B-720P", frames=81),
    "vace-1.3B": Task("WanVace", VACE, 16, (), "Wan2.1-VACE-1.3B", transformer="VaceWanModel"),
    "vace-14B": Task("WanVace", VACE, 16, (), "Wan2.1-VACE-14B", transformer="VaceWanModel"),
}


def repeated_timesteps(steps: int, shift: float, solver: str) -> int:
    """Count the steps whose timestep equals the one before.

    The official solvers round timesteps down to whole numbers of 1000, so many steps under a large shift
    share some; the cache, which knows a step by its timestep, would take two steps for one.
    Source: wan/utils/fm_solvers.py and fm_solvers_unipc.py at 9737cba.

    Args:
        steps: N, the number of steps.
        shift: s in sigma <- s sigma / (1 + (s - 1) sigma).
        solver: `unipc`, which starts at 0.999, or `dpm++`, which starts at 1.
    """
    start = 0.999 if solver == "unipc" else 1.0
    levels = (start * (1 - step / steps) for step in range(steps))
    return steps - len({int(1000 * shift * level / (1 + (shift - 1) * level)) for level in levels})
