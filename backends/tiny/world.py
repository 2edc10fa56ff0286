"""The world `tiny` is trained on: one or two coloured shapes that move over a textured, maybe panning ground.

A `Scene` holds everything a video shows; `describe` says it in words and `render` draws it. Objects are
saturated and grounds are nearly grey, so colours can be judged from pixels alone (see `judge`).
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from backends.tiny.text import COLOURS, DIRECTIONS, SHAPES, SIZE_CHANGES, TEXTURES, TONES

FRAMES, HEIGHT, WIDTH = 17, 64, 64
# Patterns repeat every PERIOD pixels, the side of one token of the transformer, and a pan scrolls them by one
# pixel a frame: where a pattern stands is free, how fine it is is not. A small model learns that in time.
PERIOD = 16
HUES = {"red": 0.0, "orange": 0.08, "yellow": 0.16, "green": 0.35, "cyan": 0.5, "blue": 0.63, "purple": 0.8}
MOTIONS = (*DIRECTIONS, *SIZE_CHANGES, "still")
PANS = ("", "left", "right")
VELOCITY = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}  # x to the right, y down
HELD_OUT_SHARE = 0.05  # of all object descriptions, kept out of training
TWO_OBJECTS_SHARE = 0.3  # of all scenes
READING_ORDER = 16  # by how much, at least, x + y of two objects differ, in pixels


@dataclass(frozen=True)
class Thing:
    """One object: what the prompt may say of it, and its path (pixels; one value a frame)."""

    colour: str
    shape: str
    motion: str
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    tilt: float  # radians


@dataclass(frozen=True)
class Ground:
    """The background: brightness, pattern, which way it scrolls (a pixel a frame), contrast and tint."""

    tone: str
    texture: str
    pan: str
    contrast: float
    tint: np.ndarray  # RGB offsets
    detail: np.ndarray = field(repr=False)  # free numbers in [0, 1) that the texture uses


@dataclass(frozen=True)
class Scene:
    """Everything one video shows."""

    things: tuple[Thing, ...]
    ground: Ground


def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether this description of an object is kept out of training, by a fixed hash."""
    digest = hashlib.sha256(f"{colour} {shape} {motion}".encode()).digest()
    return digest[0] < 256 * HELD_OUT_SHARE


def sample_path(
    rng: np.random.Generator, motion: str, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw x, y and radius over the frames [F] for one object that stays inside the picture."""
    progress = np.linspace(-0.5, 0.5, FRAMES)
    largest = 12.0 if count == 1 else 10.0
    radius = np.full(FRAMES, rng.uniform(0.75 * largest, largest))
    if motion in SIZE_CHANGES:
        start, end = sorted((rng.uniform(4.5, 5.5), rng.uniform(1.1, 1.3) * largest))
        if motion == "shrinking":
            start, end = end, start
        radius = start + (end - start) * (progress + 0.5)
    dx, dy = VELOCITY.get(motion, (0, 0))
    travel = rng.uniform(20, 28)
    reach = radius.max() + 1
    x_room = max(WIDTH / 2 - reach - abs(dx) * travel / 2, 0)
    y_room = max(HEIGHT / 2 - reach - abs(dy) * travel / 2, 0)
    x = WIDTH / 2 + rng.uniform(-x_room, x_room) + dx * travel * progress
    y = HEIGHT / 2 + rng.uniform(-y_room, y_room) + dy * travel * progress
    return x, y, radius


def room_between(paths: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """How far two objects keep apart and in reading order, in pixels beyond what is needed."""
    if len(paths) == 1:
        return math.inf
    (x0, y0, r0), (x1, y1, r1) = paths
    gap = float((np.hypot(x0 - x1, y0 - y1) - r0 - r1).min())
    order = float((x1 + y1 - x0 - y0).mean())
    return min(gap, order - READING_ORDER)


def sample_scene(
    rng: np.random.Generator, held_out: bool = False, two_objects: float = TWO_OBJECTS_SHARE
) -> Scene:
    """Draw a scene.

    Two objects never share a colour, are kept apart as far as chance allows, and the first is further up and
    left than the second: a prompt names them in reading order.

    Args:
        rng: source of all randomness.
        held_out: draw objects from the descriptions kept out of training instead of from the others.
        two_objects: how likely the scene has two objects instead of one.
    """
    count = 2 if rng.random() < two_objects else 1
    words: list[tuple[str, str, str]] = []
    while len(words) < count:
        candidate = (str(rng.choice(COLOURS)), str(rng.choice(SHAPES)), str(rng.choice(MOTIONS)))
        if is_held_out(*candidate) == held_out and candidate[0] not in [w[0] for w in words]:
            words.append(candidate)
    best: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    best_room = -math.inf
    for _ in range(60):
        paths = [sample_path(rng, motion, count) for _, _, motion in words]
        room = room_between(paths)
        if room > best_room:
            best, best_room = paths, room
        if room > 0:
            break
    things = tuple(
        Thing(c, s, m, *path, tilt=float(rng.uniform(-0.15, 0.15)))
        for (c, s, m), path in zip(words, best, strict=True)
    )
    pan = PANS[rng.choice(3, p=(0.5, 0.25, 0.25))]
    ground = Ground(
        tone=str(rng.choice(TONES)),
        texture=str(rng.choice(TEXTURES)),
        pan=pan,
        contrast=float(rng.uniform(0.12, 0.16)),
        tint=rng.uniform(-0.025, 0.025, 3),
        detail=rng.random(4),
    )
    return Scene(things, ground)


def describe(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Say a scene in words. With `rng`, some phrases are left out, so that short prompts are known too."""
    phrases = []
    for thing in scene.things:
        motion = f"moving {thing.motion}" if thing.motion in DIRECTIONS else thing.motion
        keep_motion = rng is None or rng.random() > 0.1
        article = "an" if thing.colour == "orange" else "a"
        phrases.append(f"{article} {thing.colour} {thing.shape}" + (f" {motion}" if keep_motion else ""))
    text = " and ".join(phrases)
    if rng is None or rng.random() > 0.15:
        text += f" on a {scene.ground.tone} {scene.ground.texture} background"
    if scene.ground.pan and (rng is None or rng.random() > 0.15):
        text += f", camera panning {scene.ground.pan}"
    return text


def shape_distance(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Approximate signed distance in pixels to the outline of a shape centred at 0 (negative inside)."""
    if shape == "circle":
        return np.hypot(x, y) - 0.95 * radius
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.75 * radius) - 0.27 * radius
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.84 * radius
    if shape == "triangle":
        edge = np.maximum(np.abs(x) * 0.866 - y * 0.5, y)  # apex up: y points down
        return edge - 0.58 * radius
    if shape == "star":
        angle = np.mod(np.arctan2(x, -y), 2 * np.pi / 5) - np.pi / 5
        distance = np.hypot(x, y)
        inner = 0.47 * radius
        # An edge runs from an outer point at angle pi/5 to an inner point at angle 0 (after folding).
        px, py = distance * np.cos(angle), np.abs(distance * np.sin(angle))
        ox, oy = 1.12 * radius * np.cos(np.pi / 5), 1.12 * radius * np.sin(np.pi / 5)
        nx, ny = oy, inner - ox
        return ((px - inner) * nx + py * ny) / np.hypot(nx, ny)
    raise ValueError(f"unknown shape {shape!r}")


def draw_ground(ground: Ground) -> np.ndarray:
    """Draw the background, [F, H, W] brightness in [0, 1]."""
    shift = {"left": 1.0, "right": -1.0}.get(ground.pan, 0.0) * np.arange(FRAMES, dtype=np.float32)
    x = np.arange(WIDTH, dtype=np.float32)[None, None, :] - shift[:, None, None]
    y = np.arange(HEIGHT, dtype=np.float32)[None, :, None]
    d = ground.detail
    if ground.texture == "plain":
        angle = 2 * np.pi * d[0]
        pattern = ((x - 32) * np.cos(angle) + (y - 32) * np.sin(angle)) / 64 * 0.5
    elif ground.texture == "striped":
        across = (x, y)[int(2 * d[0])]
        pattern = np.clip(3 * np.sin(2 * np.pi * (across / PERIOD + d[1])), -1, 1)
    elif ground.texture == "checkered":
        waves = np.sin(2 * np.pi * (x / PERIOD + d[0])) * np.sin(2 * np.pi * (y / PERIOD + d[1]))
        pattern = np.clip(5 * waves, -1, 1)
    elif ground.texture == "dotted":
        u = np.mod(x / PERIOD + d[1], 1) - 0.5
        v = np.mod(y / PERIOD + d[2], 1) - 0.5
        pattern = 1.8 * np.clip((0.27 - np.hypot(u, v)) * PERIOD + 0.5, 0, 1) - 0.4
    elif ground.texture == "cloudy":
        # Three crossing waves, so that no direction dominates as in stripes; half of them mirrored.
        side = 1 if d[3] < 0.5 else -1
        pattern = sum(
            np.sin(2 * np.pi * ((p * side * x + q * y) / (4 * PERIOD) + d[k]))
            for k, (p, q) in enumerate(((2, 1), (1, -2), (-1, 3)))
        )
        pattern = pattern / 1.7
    else:
        raise ValueError(f"unknown texture {ground.texture!r}")
    base = 0.22 if ground.tone == "dark" else 0.76
    return np.broadcast_to(base + ground.contrast * pattern, (FRAMES, HEIGHT, WIDTH))


def render(scene: Scene) -> np.ndarray:
    """Draw a scene, [F, H, W, 3] uint8, edges smoothed over one pixel."""
    frames = draw_ground(scene.ground)[..., None] + scene.ground.tint
    yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) + 0.5
    for thing in scene.things:
        dx = xx - thing.x[:, None, None].astype(np.float32)
        dy = yy - thing.y[:, None, None].astype(np.float32)
        cos, sin = np.float32(math.cos(thing.tilt)), np.float32(math.sin(thing.tilt))
        radius = thing.radius[:, None, None].astype(np.float32)
        distance = shape_distance(thing.shape, dx * cos + dy * sin, dy * cos - dx * sin, radius)
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        rgb = np.array(colorsys.hsv_to_rgb(HUES[thing.colour], 0.9, 0.95))
        shade = 1 - 0.12 * np.clip(dy / radius, -1, 1)[..., None]  # lit from above
        frames = frames * (1 - cover) + cover * rgb * shade
    return (np.clip(frames, 0, 1) * 255 + 0.5).astype(np.uint8)
