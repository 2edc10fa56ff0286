"""Draws videos side by side, moving, each above the strip of its steps.

    python -m scripts.side_by_side A.mp4 B.mp4 -o picture.webp

The videos are what `navicache generate` wrote, of the same size, length and rate, with their reports beside
them. Under each are the steps that computed the transformer (filled) and those that were predicted (empty),
and the seconds of denoising; from the second on, also how close it is to the first. Frames are read from the
files, after encoding. The README's picture is made by

    PROMPT="a red circle moving right and a blue star growing on a light cloudy background"
    navicache generate --prompt "$PROMPT" --seed 1 --mode off -o off.mp4
    navicache generate --prompt "$PROMPT" --seed 1 --speedup 2 --predictor calibrated -o cached.mp4
    python -m scripts.side_by_side off.mp4 cached.mp4 -o docs/side-by-side.webp
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from navicache_cli.errors import UsageError
from navicache_cli.files import write_atomically
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video_in import read_video
from navicache_cli.plots.theme import LIGHT
from navicache_cli.report.report import Report, read_report
from navicache_cli.report.speed import CPU

SIDE = 320  # pixels, of a video
GAP = 24
TITLE, STRIP, LINE = 34, 16, 28  # heights in pixels


def title(report: Report) -> str:
    """Return what was asked of the cache, as one types it."""
    plan = report.plan_values()
    if plan["mode"] == "off":
        return "no cache"
    if plan["speedup"]:
        return f"navicache, --speedup {plan['speedup']:g}"
    return f"navicache, --mode {plan['mode']}"


def facts(report: Report, to_first: float | None) -> str:
    """Return the line below the strip; `to_first` in dB."""
    timings = report.timings_s
    seconds = timings.cpu["denoise"] if timings.clock == CPU else timings.denoise
    totals = report.totals
    text = f"{totals.computed_steps} of {totals.steps} steps, {seconds:.1f} s"
    return text if to_first is None else f"{text}, PSNR {to_first:.0f} dB"


def draw_strip(draw: ImageDraw.ImageDraw, left: int, top: int, computed: list[bool]) -> None:
    """Draw a cell for each step: filled where the transformer ran."""
    edges = np.linspace(left, left + SIDE, len(computed) + 1).round().astype(int).tolist()
    for start, end, ran in zip(edges, edges[1:], computed, strict=False):
        fill = LIGHT.computed if ran else LIGHT.grid
        draw.rectangle((start, top, end - 2, top + STRIP), fill=fill)


def compose(videos: list[np.ndarray], reports: list[Report]) -> list[Image.Image]:
    """Return the frames of the picture; videos [F, H, W, 3] uint8."""
    font = ImageFont.load_default(size=17)
    width = len(videos) * SIDE + (len(videos) + 1) * GAP
    height = TITLE + SIDE + GAP // 2 + STRIP + LINE + GAP
    page = Image.new("RGB", (width, height), LIGHT.surface)
    draw = ImageDraw.Draw(page)
    lefts = [GAP + i * (SIDE + GAP) for i in range(len(videos))]
    below = TITLE + SIDE + GAP // 2
    for i, (left, video, report) in enumerate(zip(lefts, videos, reports, strict=True)):
        draw.text((left, 8), title(report), fill=LIGHT.ink, font=font)
        draw_strip(draw, left, below, [step.computed for step in report.steps])
        to_first = psnr(videos[0], video) if i else None
        draw.text((left, below + STRIP + 8), facts(report, to_first), fill=LIGHT.muted, font=font)
    frames = []
    for shown in zip(*videos, strict=True):
        frame = page.copy()
        for left, picture in zip(lefts, shown, strict=True):
            frame.paste(
                Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, TITLE)
            )
        frames.append(frame)
    return frames


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.webp")
    options = parser.parse_args()
    read = [read_video(path) for path in options.videos]
    if len({(frames.shape, fps) for frames, fps in read}) > 1:
        raise UsageError(
            "videos side by side need one size, length and rate; found several",
            "make them by the same command, with other options of the cache",
        )
    reports = [read_report(path.with_suffix(".json")) for path in options.videos]
    frames = compose([video for video, _ in read], reports)
    drawn = io.BytesIO()
    milliseconds = round(1000 / read[0][1])
    frames[0].save(
        drawn, "WEBP", save_all=True, append_images=frames[1:], loop=0, duration=milliseconds, quality=80
    )
    write_atomically(options.output, drawn.getvalue())


if __name__ == "__main__":
    main()
