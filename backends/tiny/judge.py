"""Does a video show what its prompt says? Answered from the pixels alone.

Objects are the saturated pixels, split by hue; motion is where each hue's pixels are, and how many, at the
start and at the end; the background is judged on the unsaturated pixels by brightness, by how fine its
pattern is (clouds are coarse), by how one-sided its gradients are (stripes), and by the skew of its
brightness (dots). How sharp the edges of a pattern are does not count: the codec softens them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .text import COLOURS, DIRECTIONS
from .world import HUES, VELOCITY


@dataclass(frozen=True)
class Wanted:
    """What a prompt asks for: (colour, motion) an object, and the ground's tone and texture."""

    objects: tuple[tuple[str, str], ...]
    tone: str
    texture: str


@dataclass(frozen=True)
class Verdict:
    """Whether colour, motion and background agree with the prompt."""

    colour: bool
    motion: bool
    background: bool


def hue_classes(frames: np.ndarray) -> np.ndarray:
    """Name each pixel's colour: frames [F, H, W, 3] uint8 -> [F, H, W] index in COLOURS, -1 for grey."""
    rgb = frames.astype(np.float32) / 255
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    safe = np.where(chroma > 0, chroma, 1)
    r, g, b = np.moveaxis(rgb, -1, 0)
    sector = np.where(high == r, (g - b) / safe, np.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = np.mod(sector / 6, 1)
    distance = np.stack([np.abs(np.mod(hue - HUES[c] + 0.5, 1) - 0.5) for c in COLOURS])
    return np.where(chroma > 0.4, distance.argmin(0), -1)


def dominant_colours(classes: np.ndarray, count: int) -> tuple[str, ...]:
    """Return the `count` most frequent object colours of the video, most frequent first."""
    pixels = [(int((classes == index).sum()), colour) for index, colour in enumerate(COLOURS)]
    return tuple(colour for _, colour in sorted(pixels, reverse=True)[:count])


def observed_motion(classes: np.ndarray, colour: str) -> str:
    """Name the motion of the object of one colour: a direction, growing, shrinking, still, or nothing."""
    mask = classes == COLOURS.index(colour)

    def centre_and_area(part: np.ndarray) -> tuple[np.ndarray, float]:
        _, ys, xs = np.nonzero(part)
        if len(xs) == 0:
            return np.array([np.nan, np.nan]), 0.0
        return np.array([np.median(xs), np.median(ys)]), len(xs) / len(part)

    start, first_area = centre_and_area(mask[:3])
    end, last_area = centre_and_area(mask[-3:])
    if min(first_area, last_area) < 8:
        return "nothing"
    dx, dy = end - start
    if max(abs(dx), abs(dy)) >= 9:
        horizontal = abs(dx) > abs(dy)
        step = (int(np.sign(dx)), 0) if horizontal else (0, int(np.sign(dy)))
        return next(name for name in DIRECTIONS if VELOCITY[name] == step)
    growth = last_area / first_area
    if growth > 1.7:
        return "growing"
    if growth < 1 / 1.7:
        return "shrinking"
    return "still"


def observed_background(frames: np.ndarray, classes: np.ndarray) -> tuple[str, str]:
    """Name tone and texture of the background from a few frames."""
    tones, features = [], []
    for index in (0, len(frames) // 2, len(frames) - 1):
        grey = frames[index].astype(np.float32).mean(-1) / 255
        chroma = np.ptp(frames[index].astype(np.float32), axis=-1) / 255
        near = chroma > 0.2
        for _ in range(2):  # keep clear of the objects' soft edges
            grown = near.copy()
            grown[1:] |= near[:-1]
            grown[:-1] |= near[1:]
            grown[:, 1:] |= near[:, :-1]
            grown[:, :-1] |= near[:, 1:]
            near = grown
        free = ~near
        values = grey[free]
        tones.append(np.median(values))
        gy, gx = np.gradient(grey)
        inside = free.copy()
        inside[[0, -1]] = inside[:, [0, -1]] = False
        jxx, jyy, jxy = (float((a * b)[inside].mean()) for a, b in ((gx, gx), (gy, gy), (gx, gy)))
        one_sided = np.hypot(jxx - jyy, 2 * jxy) / (jxx + jyy + 1e-9)
        # Of waves, the squared wave number: 0.06 for clouds, 0.15 for stripes, 0.3 for checks.
        fineness = (jxx + jyy) / (values.var() + 1e-9)
        z = (values - values.mean()) / (values.std() + 1e-6)
        features.append((values.std(), fineness, one_sided, abs(float((z**3).mean()))))
    spread, fineness, one_sided, skew = np.median(np.array(features), axis=0)
    if spread < 0.04:
        texture = "plain"
    elif fineness < 0.12:
        texture = "cloudy"
    elif one_sided > 0.65:
        texture = "striped"
    elif skew > 0.35:
        texture = "dotted"
    else:
        texture = "checkered"
    return ("light" if np.median(tones) > 0.49 else "dark"), texture


def judge(frames: np.ndarray, wanted: Wanted) -> Verdict:
    """Compare a video [F, H, W, 3] uint8 with what its prompt asked for.

    Colour agrees when the most frequent object colours are the wanted ones; motion when every wanted object
    moves as asked; background when both tone and texture are right.
    """
    classes = hue_classes(frames)
    colours = [colour for colour, _ in wanted.objects]
    return Verdict(
        colour=set(dominant_colours(classes, len(colours))) == set(colours),
        motion=all(observed_motion(classes, colour) == motion for colour, motion in wanted.objects),
        background=observed_background(frames, classes) == (wanted.tone, wanted.texture),
    )
