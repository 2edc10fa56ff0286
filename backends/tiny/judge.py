"""Does a video show what its prompt says? Answered from the pixels alone.

Objects are the saturated pixels, split by hue; motion is where each hue's pixels are, and how many, at the
start and at the end; shape is the silhouette that fits them best. The background is judged on the unsaturated
pixels by brightness, by how fine its pattern is (clouds are coarse), by how one-sided its gradients are
(stripes), and by the skew of its brightness (dots). How sharp edges are does not count: the codec is soft.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from backends.tiny.text import COLOURS, DIRECTIONS, SHAPES
from backends.tiny.world import HUES, VELOCITY, shape_distance

LOOKED_AT = slice(None, None, 4)  # the frames whose silhouettes are compared
LEAST_PIXELS = 20  # of an object in a frame, to have a shape
SOFTENING = 3  # how often silhouettes are smoothed, about as much as the codec does


@dataclass(frozen=True)
class Wanted:
    """What a prompt asks for: (colour, motion, shape) an object, and the ground's tone and texture."""

    objects: tuple[tuple[str, str, str], ...]
    tone: str
    texture: str


@dataclass(frozen=True)
class Verdict:
    """Whether colour, motion, background and shape agree with the prompt."""

    colour: bool
    motion: bool
    background: bool
    shape: bool


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


def observed_shape(classes: np.ndarray, colour: str) -> str:
    """Name the shape of the object of one colour, or nothing.

    It is the one whose silhouette has the largest intersection over union with the object's pixels, in the
    mean over a few frames, larger objects counting more.
    """
    masks = [mask for mask in classes[LOOKED_AT] == COLOURS.index(colour) if mask.sum() >= LEAST_PIXELS]
    if not masks:
        return "nothing"
    return max(SHAPES, key=lambda shape: sum(int(mask.sum()) * overlap(mask, shape) for mask in masks))


def overlap(mask: np.ndarray, shape: str) -> float:
    """Return the best intersection over union of pixels [H, W] with a shape of their area and place.

    The silhouette may stand a little beside the pixels' centre, be a little larger or smaller, and tilted.
    """
    rows, columns = np.nonzero(mask)
    area, size = len(rows), math.sqrt(len(rows) / unit_area(shape))
    reach = int(1.5 * size) + 3
    centre_y, centre_x = rows.mean(), columns.mean()
    top, left = max(0, int(centre_y) - reach), max(0, int(centre_x) - reach)
    part = mask[top : int(centre_y) + reach + 2, left : int(centre_x) + reach + 2]
    beside, larger, tilt = (-1.5, 0.0, 1.5), (0.88, 1.0, 1.12), (-0.12, 0.12)
    down, right, scale, angle = (
        each.reshape(-1, 1, 1) for each in np.meshgrid(beside, beside, larger, tilt, indexing="ij")
    )
    y, x = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    dx, dy = x - (centre_x + right), y - (centre_y + down)
    cos, sin = np.cos(angle), np.sin(angle)
    distance = shape_distance(shape, dx * cos + dy * sin, dy * cos - dx * sin, size * scale)
    silhouettes = np.clip(0.5 - distance, 0, 1)
    for axis in (1, 2):
        for _ in range(SOFTENING):
            neighbours = np.roll(silhouettes, 1, axis) + np.roll(silhouettes, -1, axis)
            silhouettes = (neighbours + 2 * silhouettes) / 4
    silhouettes = np.clip(3 * (silhouettes - 0.5) + 0.5, 0, 1)
    common = np.minimum(silhouettes, part).sum((1, 2))
    return float((common / (area + silhouettes.sum((1, 2)) - common)).max())


@functools.cache
def unit_area(shape: str) -> float:
    """The area of a shape of radius 1."""
    y, x = (np.mgrid[0:400, 0:400] + 0.5) / 400 * 2.6 - 1.3
    return float((shape_distance(shape, x, y, np.ones(())) < 0).mean() * 2.6**2)


def observed_background(frames: np.ndarray) -> tuple[str, str]:
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
    moves as asked; background when both tone and texture are right; shape when every wanted object has it.
    """
    classes = hue_classes(frames)
    colours = [colour for colour, _, _ in wanted.objects]
    return Verdict(
        colour=set(dominant_colours(classes, len(colours))) == set(colours),
        motion=all(observed_motion(classes, colour) == motion for colour, motion, _ in wanted.objects),
        background=observed_background(frames) == (wanted.tone, wanted.texture),
        shape=all(observed_shape(classes, colour) == shape for colour, _, shape in wanted.objects),
    )
