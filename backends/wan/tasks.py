"""What is known of Wan2.1, Wan2.2 and their tasks before the official code is loaded.

Sources: Wan-Video/Wan2.1 at 9737cba and Wan-Video/Wan2.2 at 42bf4cf (generate.py, wan/configs, README.md),
huggingface.co/Wan-AI.
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
    relatives=(("wan/textimage2video.py", "wan2.2"),),
)
WAN22 = Official(
    name="wan2.2",
    title="Wan2.2",
    url="https://github.com/Wan-Video/Wan2.2",
    package="wan",
    files=("wan/modules/model.py", "wan/text2video.py", "wan/textimage2video.py"),
    tested_commit="42bf4cfaa384bc21833865abc2f9e6c0e67233dc",
    # Wan2.1's is called `wan` too, and one process may need both.
    imported_as="wan22",
    # Its `__init__` also imports speech and animation, which need decord, librosa, peft and OpenCV.
    parts=("configs", "text2video", "image2video", "textimage2video"),
    relatives=(("wan/modules/clip.py", "wan"),),
)

VACE = "vace"  # model type of the tasks that change a given video, keep to reference pictures, or both


@dataclass(frozen=True)
class Task:
    """One task; its name is the key of the official WAN_CONFIGS.

    Attributes:
        pipeline: the official class.
        model_type: of its transformer, as in the weights' config.json.
        in_channels: of the transformer: those of latents, and for pictures 4 of mask and 16 of latents more.
        pictures: plan options with the pictures it needs.
        weights: name of the weights at huggingface.co/Wan-AI; `{height}` is 480P or 720P.
        frames: the only number of frames it can do, or 0 for any.
        transformer: the official class, as named in the pipeline's module.
        official: the repository.
        vae: the official class, as named in the pipeline's module.
        latent_channels: of the VAE.
        cell: pixels along each side of one cell of latents.
        experts: attribute of the pipeline and key of the official config for each of two transformers that
            take turns, the first one first, by a name for people; empty for one transformer.
        may_have_picture: whether the plan's `image` is its first frame, where one is given.
    """

    pipeline: str
    model_type: str
    in_channels: int
    pictures: tuple[str, ...]
    weights: str
    frames: int = 0
    transformer: str = "WanModel"
    official: Official = WAN
    vae: str = "WanVAE"
    latent_channels: int = 16
    cell: int = 8
    experts: tuple[tuple[str, str, str], ...] = ()
    may_have_picture: bool = False

    def weights_name(self, size: str) -> str:
        """Return the name of the weights for a size `WIDTHxHEIGHT`."""
        return self.weights.format(height="480P" if "480" in size.split("x") else "720P")


# The one that starts from noise, and the one that takes over below a timestep: wan/configs, `boundary`.
EXPERTS = (
    ("high noise", "high_noise_model", "high_noise_checkpoint"),
    ("low noise", "low_noise_model", "low_noise_checkpoint"),
)
TASKS = {
    "t2v-1.3B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-1.3B"),
    "t2v-14B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-14B"),
    "t2i-14B": Task("WanT2V", "t2v", 16, (), "Wan2.1-T2V-14B", frames=1),
    "i2v-14B": Task("WanI2V", "i2v", 36, ("image",), "Wan2.1-I2V-14B-{height}"),
    # Its mask is written for 81 frames: wan/first_last_frame2video.py.
    "flf2v-14B": Task("WanFLF2V", "flf2v", 36, ("image", "last_image"), "Wan2.1-FLF2V-14B-720P", frames=81),
    "vace-1.3B": Task("WanVace", VACE, 16, (), "Wan2.1-VACE-1.3B", transformer="VaceWanModel"),
    "vace-14B": Task("WanVace", VACE, 16, (), "Wan2.1-VACE-14B", transformer="VaceWanModel"),
    "t2v-A14B": Task(
        "WanT2V", "t2v", 16, (), "Wan2.2-T2V-A14B", official=WAN22, vae="Wan2_1_VAE", experts=EXPERTS
    ),
    "i2v-A14B": Task(
        "WanI2V", "i2v", 36, ("image",), "Wan2.2-I2V-A14B", official=WAN22, vae="Wan2_1_VAE", experts=EXPERTS
    ),
    "ti2v-5B": Task(
        "WanTI2V", "ti2v", 48, (), "Wan2.2-TI2V-5B", official=WAN22, vae="Wan2_2_VAE", latent_channels=48,
        cell=16, may_have_picture=True,
    ),
}  # fmt: skip


def tasks_of(official: Official) -> list[str]:
    """Return the names of the tasks of a repository."""
    return [name for name, task in TASKS.items() if task.official == official]


def repeated_timesteps(steps: int, shift: float, solver: str) -> int:
    """Count the steps whose timestep equals the one before.

    The official solvers round timesteps down to whole numbers of 1000, so many steps under a large shift
    share some; the cache, which knows a step by its timestep, would take two steps for one.
    Source: wan/utils/fm_solvers.py and fm_solvers_unipc.py of both repositories.

    Args:
        steps: N, the number of steps.
        shift: s in sigma <- s sigma / (1 + (s - 1) sigma).
        solver: `unipc`, which starts at 0.999, or `dpm++`, which starts at 1.
    """
    start = 0.999 if solver == "unipc" else 1.0
    levels = (start * (1 - step / steps) for step in range(steps))
    return steps - len({int(1000 * shift * level / (1 + (shift - 1) * level)) for level in levels})
