"""What is known of Open-Sora 1.2 before the official code is loaded.

Sources: hpcaitech/Open-Sora at v1.2.0 (scripts/inference.py, configs/opensora-v1-2/inference/sample.py),
NUS-HPC-AI-Lab/VideoSys at 4cce477 (videosys/pipelines/open_sora).
"""

from __future__ import annotations

from backends.official.repositories import Official

OPENSORA = Official(
    name="opensora",
    title="Open-Sora 1.2",
    url="https://github.com/hpcaitech/Open-Sora",
    package="opensora",
    # The main branch is Open-Sora 2.0, another model, without these.
    files=(
        "opensora/models/stdit/stdit3.py",
        "opensora/schedulers/rf/rectified_flow.py",
        "opensora/utils/inference_utils.py",
    ),
    tested_commit="17cce908b22283acc3c946816c81f46dd442a453",
    branch="v1.2.0",
)
VIDEOSYS = Official(
    name="opensora",
    title="VideoSys",
    url="https://github.com/NUS-HPC-AI-Lab/VideoSys",
    package="videosys",
    files=(
        "videosys/pipelines/open_sora/pipeline_open_sora.py",
        "videosys/models/transformers/open_sora_transformer_3d.py",
    ),
    tested_commit="4cce477878b0683b5c05cd001ce45ac0e2fc3034",
    setup_name="videosys",
)
REPOSITORIES = (OPENSORA, VIDEOSYS)

# Names at the Hugging Face hub, by the part that the official code loads from there.
TOGETHER = "Open-Sora-1.2"  # what `navicache setup` calls the four of them
TRANSFORMER, VAE = "hpcai-tech/OpenSora-STDiT-v3", "hpcai-tech/OpenSora-VAE-v1.2"
IMAGE_VAE, TEXT_ENCODER = "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers", "DeepFloyd/t5-v1_1-xxl"

FPS = 24  # what the model is told, whatever the rate the video is played at
TEXT_TOKENS, TEXT_CHANNELS = 300, 4096
LATENT_CHANNELS = 4
# The VAE takes 17 frames at a time and makes 5 latents of them; a shorter rest by fours.
MICRO_FRAMES, MICRO_LATENTS = 17, 5
AESTHETIC_SCORE = 6.5  # `aes` of the official config; there is no motion score, `flow`, by default
