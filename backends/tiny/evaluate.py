"""How good `tiny` is, and how much the sampling path matters to it.

    python -m backends.tiny.evaluate --count 100 --sheet docs/tiny-samples.png

Generates held-out prompts (no object description of theirs was ever trained on) with the shipped preset
and no cache, judges the pixels, and compares 25 steps with 50. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
from rich.progress import track

from backends.protocol import Stages
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.judge import Verdict, Wanted, judge
from backends.tiny.train import to_unit
from backends.tiny.world import Scene, describe, render, sample_scene
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.terminal import stderr
from navicache_cli.threads import use_at_most

SHEET_COLUMNS, SHEET_FRAMES = 4, (0, 5, 11, 16)


def held_out_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Draw scenes whose objects were kept out of training."""
    rng = np.random.default_rng((seed, 1))
    return [sample_scene(rng, held_out=True) for _ in range(count)]


def wanted(scene: Scene) -> Wanted:
    """What the full description of a scene asks for."""
    objects = tuple((thing.colour, thing.motion, thing.shape) for thing in scene.things)
    return Wanted(objects, scene.ground.tone, scene.ground.texture)


def generate(pipeline: TinyPipeline, plan: Plan) -> np.ndarray:
    """Generate frames [F, H, W, 3] uint8 without a cache."""
    return to_uint8(pipeline.generate(plan, Stages()))


def through_codec(pipeline: TinyPipeline, frames: np.ndarray) -> np.ndarray:
    """Encode and decode frames [F, H, W, 3] uint8: what is lost is not the denoiser's fault."""
    return to_uint8(pipeline.codec.decode(pipeline.codec.encode(to_unit(frames[None])))[0])


def agreement(verdicts: list[Verdict]) -> dict[str, float]:
    """Return the share of verdicts that agree, part by part; empty where there are none."""
    parts = [part.name for part in fields(Verdict)] if verdicts else []
    return {part: float(np.mean([getattr(v, part) for v in verdicts])) for part in parts}


def contact_sheet(videos: list[np.ndarray], prompts: list[str], path: Path, scale: int = 2) -> None:
    """Draw a few frames of each video over its prompt, as a PNG."""
    from PIL import Image, ImageDraw

    size, gap, text = videos[0].shape[1] * scale, 6, 30
    cell = len(SHEET_FRAMES) * size + gap
    rows = -(-len(videos) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * (cell + gap) + gap, rows * (size + text + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (video, prompt) in enumerate(zip(videos, prompts, strict=True)):
        x = gap + index % SHEET_COLUMNS * (cell + gap)
        y = gap + index // SHEET_COLUMNS * (size + text + gap)
        for column, frame in enumerate(SHEET_FRAMES):
            picture = Image.fromarray(video[frame]).resize((size, size), Image.Resampling.BICUBIC)
            sheet.paste(picture, (x + column * size, y))
        cut = prompt.find(" on a ")
        lines = prompt if cut < 0 else f"{prompt[:cut]}\n{prompt[cut + 1 :]}"
        draw.multiline_text((x, y + size + 1), lines, fill="black", spacing=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def main() -> None:
    """Run the evaluation from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of held-out prompts")
    parser.add_argument("--paths", type=int, default=20, help="of these, how many to run with 25 steps too")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first videos here (PNG)")
    parser.add_argument("--sheet-count", type=int, default=24)
    parser.add_argument("--weights", type=Path, default=shipped_weights())
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for generate")
    arguments = parser.parse_args()
    use_at_most(1)  # as `generate`
    pipeline = TinyPipeline(arguments.weights)
    extra = dict(item.split("=", 1) for item in arguments.set)
    scenes = held_out_scenes(arguments.count)
    prompts = [describe(scene) for scene in scenes]
    videos, verdicts, drawn, path_psnr, wrong = [], [], [], [], []
    for index in track(range(len(scenes)), "held-out prompts", console=stderr):
        plan = resolve([Layer("evaluate", {"mode": "off", "prompt": prompts[index], "seed": index, **extra})])
        frames = generate(pipeline, plan)
        asked = wanted(scenes[index])
        verdict = judge(frames, asked)
        videos.append(frames)
        verdicts.append(verdict)
        drawn.append(judge(through_codec(pipeline, render(scenes[index])), asked))
        if not all(asdict(verdict).values()):
            wrong.append({"prompt": prompts[index], "seed": index, **asdict(verdict)})
        if index < arguments.paths:
            path_psnr.append(psnr(generate(pipeline, replace(plan, steps=plan.steps // 2)), frames))
    one, two = ([v for v, s in zip(verdicts, scenes, strict=True) if len(s.things) == n] for n in (1, 2))
    result = {
        "prompts": len(prompts),
        "agreement": agreement(verdicts),
        "one_object": {"prompts": len(one), **agreement(one)},
        "two_objects": {"prompts": len(two), **agreement(two)},
        "drawn_and_through_the_codec": agreement(drawn),
        "wrong": wrong,
    }
    if path_psnr:
        result["half_the_steps_psnr"] = {"mean": float(np.mean(path_psnr)), "worst": float(np.min(path_psnr))}
    print(json.dumps(result, indent=1))
    if arguments.sheet:
        count = arguments.sheet_count
        contact_sheet(videos[:count], prompts[:count], arguments.sheet)


if __name__ == "__main__":
    main()
