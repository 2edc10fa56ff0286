"""Prompts of the miniature world: its vocabulary, and the encoder that turns words into context vectors.

The language is small on purpose, so that every word has been seen in training and a check can tell from
the pixels alone whether a video shows what its prompt says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navicache_cli.errors import UsageError

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
SHAPES = ("circle", "square", "triangle", "star", "ring")
DIRECTIONS = ("right", "left", "up", "down")
SIZE_CHANGES = ("growing", "shrinking")
TONES = ("dark", "light")
TEXTURES = ("plain", "striped", "checkered", "dotted", "cloudy")

VOCABULARY: dict[str, tuple[str, ...]] = {
    "colours": COLOURS,
    "shapes": SHAPES,
    "motions": ("moving", *DIRECTIONS, *SIZE_CHANGES, "still"),
    "backgrounds": (*TONES, *TEXTURES, "background"),
    "camera": ("camera", "panning"),
    "joining": ("and",),
}

SYNONYMS = {
    "ball": "circle", "disc": "circle", "disk": "circle", "circles": "circle",
    "box": "square", "cube": "square", "squares": "square",
    "triangles": "triangle", "stars": "star", "rings": "ring", "donut": "ring",
    "violet": "purple", "magenta": "purple", "turquoise": "cyan",
    "moves": "moving", "going": "moving", "goes": "moving", "flying": "moving", "sliding": "moving",
    "rightwards": "right", "leftwards": "left", "upwards": "up", "upward": "up",
    "downwards": "down", "downward": "down",
    "grows": "growing", "shrinks": "shrinking",
    "static": "still", "resting": "still", "motionless": "still",
    "black": "dark", "white": "light", "bright": "light",
    "stripes": "striped", "stripy": "striped", "checkerboard": "checkered", "checked": "checkered",
    "dots": "dotted", "clouds": "cloudy", "simple": "plain", "pans": "panning",
}  # fmt: skip
IGNORED = frozenset(
    {"a", "an", "the", "on", "is", "are", "with", "of", "to", "in", "towards", "at", "over", "it", "its"}
)

# Index 0 is the end-of-prompt token; it stands alone for the empty (unconditional) prompt.
TOKENS = ("<end>", *(word for words in VOCABULARY.values() for word in words))
TOKEN_INDEX = {word: index for index, word in enumerate(TOKENS)}
TEXT_LEN = 24  # longest prompt in tokens, the end token included


@dataclass(frozen=True)
class Tokens:
    """A parsed prompt: token indices (end token last) and the words nobody taught the model."""

    indices: tuple[int, ...]
    unknown: tuple[str, ...]


def vocabulary_text() -> str:
    """Return the vocabulary as one line a group, for error messages and help."""
    return "\n".join(f"  {group}: {', '.join(words)}" for group, words in VOCABULARY.items())


def tokenize(prompt: str) -> Tokens:
    """Split a prompt into known tokens and unknown words.

    An empty prompt is the unconditional one.

    Raises:
        UsageError: the prompt has words, but none that the model knows, or too many.
    """
    words = [w for w in re.findall(r"[^\W_]+", prompt.lower()) if w not in IGNORED]
    known = [SYNONYMS.get(w, w) for w in words]
    indices = [TOKEN_INDEX[w] for w in known if w in TOKEN_INDEX]
    unknown = [w for w in known if w not in TOKEN_INDEX]
    if prompt.strip() and not indices:
        raise UsageError(
            f"the prompt has no word that `tiny` knows: {prompt[:80]!r}",
            'try "a red circle moving right on a dark striped background"; its whole vocabulary:\n'
            + vocabulary_text(),
        )
    if len(indices) >= TEXT_LEN:
        raise UsageError(
            f"`tiny` reads prompts of up to {TEXT_LEN - 1} known words, found {len(indices)}",
            "describe at most two objects, one background and one camera move",
        )
    return Tokens((*indices, 0), tuple(dict.fromkeys(unknown)))


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward over the words of one prompt."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]; `padding` [B, L] is true where there is no word."""
        b, length, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
        attended = scores.softmax(-1).type_as(v) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(b, length, c))
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    """Word and position embeddings under a small transformer encoder, trained with the denoiser."""

    def __init__(self, dim: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.word = nn.Embedding(len(TOKENS), dim)
        self.position = nn.Parameter(torch.randn(TEXT_LEN, dim) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def encode_batch(self, indices: Tensor) -> Tensor:
        """Encode prompts padded with -1: [B, TEXT_LEN] token indices -> [B, TEXT_LEN, dim], 0 at padding."""
        padding = indices < 0
        x = self.word(indices.clamp(min=0)) + self.position[: indices.shape[1]]
        for layer in self.layers:
            x = layer(x, padding)
        return self.norm(x).masked_fill(padding[..., None], 0.0)

    def forward(self, prompts: list[Tokens]) -> list[Tensor]:
        """Encode prompts to a list of [L_i, dim] float32 context vectors, one a prompt."""
        device = self.position.device
        return [self.encode_batch(torch.tensor([p.indices], device=device))[0] for p in prompts]
