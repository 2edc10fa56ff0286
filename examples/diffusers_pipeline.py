"""Cache any text-to-video pipeline of diffusers: the video, and what the cache did.

python examples/diffusers_pipeline.py --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --prompt "Two cats boxing"
"""

from __future__ import annotations

import argparse

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import export_to_video

import backends.tiny.exported  # noqa: F401  the classes of a folder that `navicache export-tiny` writes
import navicache


def main() -> None:
    """Read the options, make one video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder, or a name on the hub")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--speedup", type=float, default=2, help="1.5 for fidelity, 2.5 for speed")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="video.mp4")
    options = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    pipe = DiffusionPipeline.from_pretrained(options.model, dtype=torch.bfloat16 if on_gpu else torch.float32)
    pipe.to("cuda" if on_gpu else "cpu")
    with navicache.cached(pipe, speedup=options.speedup) as cache:
        frames = pipe(
            options.prompt,
            num_inference_steps=options.steps,
            height=options.height,
            width=options.width,
            num_frames=options.frames,
            generator=torch.Generator().manual_seed(options.seed),
        ).frames[0]
    export_to_video(frames, options.output, fps=16)
    print(cache.report())
    print(options.output)


if __name__ == "__main__":
    main()
