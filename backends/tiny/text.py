"""Prompts of the miniature world: its vocabulary, and the encoder that turns words into context vectors.

The language is small on purpose, so that every word has been seen in training and a check can tell from
the pixels alone whether a video shows what its prompt says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from einops import rearrange
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

# Phrases of a prompt by number: the whole, the ground, the camera, then one for each object.
WHOLE, GROUND, CAMERA, FIRST_OBJECT = range(4)
MAX_PHRASES = FIRST_OBJECT + 2  # further objects are read as the second


@dataclass(frozen=True)
class Tokens:
    """A parsed prompt: its words, the end token last, and the words nobody taught the model.

    Attributes:
        indices: of each word, in TOKENS.
        phrases: which phrase each word belongs to; the end token stands for the whole.
        unknown: words that are not in the vocabulary.
    """

    indices: tuple[int, ...]
    phrases: tuple[int, ...]
    unknown: tuple[str, ...]

    def padded(self) -> Tensor:
        """Return indices and phrases as one tensor [2, TEXT_LEN], -1 where there is no word."""
        rows = torch.full((2, TEXT_LEN), -1)
        rows[:, : len(self.indices)] = torch.tensor([self.indices, self.phrases])
        return rows


def vocabulary_text() -> str:
    """Return the vocabulary by groups, for error messages and help."""
    return "; ".join(f"{group}: {', '.join(words)}" for group, words in VOCABULARY.items())


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
            '"a red circle moving right on a dark striped background"; its whole vocabulary: '
            + vocabulary_text(),
        )
    if len(indices) >= TEXT_LEN:
        raise UsageError(
            f"`tiny` reads prompts of up to {TEXT_LEN - 1} known words, found {len(indices)}",
            "describe at most two objects, one background and one camera move",
        )
    phrases = split_phrases([TOKENS[index] for index in indices])
    return Tokens((*indices, 0), (*phrases, WHOLE), tuple(dict.fromkeys(unknown)))


def split_phrases(words: list[str]) -> list[int]:
    """Say of each word of the vocabulary which phrase it belongs to.

    A colour or shape begins an object after "and", after a phrase of another kind, or where the last object
    has one already. A motion is the last object's, or the camera's when it directly follows.
    """
    phrases: list[int] = []
    objects: list[set[str]] = []  # what each object was given so far: "colours", "shapes"
    joined = False  # whether the word before is "and", which goes with the word that follows
    for word in words:
        before = phrases[-1] if phrases else WHOLE
        kind = next(kind for kind, group in VOCABULARY.items() if word in group)
        if kind == "joining":
            phrases.append(WHOLE)
            joined = True
            continue
        if kind == "camera" or (kind == "motions" and before == CAMERA):
            phrase = CAMERA
        elif kind == "backgrounds":
            phrase = GROUND
        else:
            named = kind != "motions"
            if not objects or (
                named and objects[-1] and (joined or before < FIRST_OBJECT or kind in objects[-1])
            ):
                objects.append(set())
            if named:
                objects[-1].add(kind)
            phrase = FIRST_OBJECT + len(objects) - 1
        if joined:
            phrases[-1] = phrase
        joined = False
        phrases.append(phrase)
    return phrases


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

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]; `hidden` [B, L, L] is true where one word does not look at another."""
        qkv = self.qkv(self.norm1(x))
        q, k, v = rearrange(qkv, "b l (three h d) -> three b h l d", three=3, h=self.heads)
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(hidden[:, None], float("-inf"))
        attended = scores.softmax(-1).type_as(v) @ v
        x = x + self.out(rearrange(attended, "b h l d -> b l (h d)"))
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    """Word, phrase and position embeddings under a small transformer encoder, trained with the denoiser.

    Each word knows its phrase and looks only at that, the end token at all: so a word carries what is said of
    its object and of no other. With positions alone, 12,000 steps of training had not taught the encoder
    which of two motions belongs to which of two objects.
    """

    def __init__(self, dim: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.word = nn.Embedding(len(TOKENS), dim)
        self.phrase = nn.Embedding(MAX_PHRASES, dim)
        self.position = nn.Parameter(torch.randn(TEXT_LEN, dim) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def encode_batch(self, padded: Tensor) -> Tensor:
        """Encode [B, 2, TEXT_LEN] of `Tokens.padded` to [B, TEXT_LEN, dim]; 0 where there is no word."""
        indices, phrases = padded.unbind(1)
        apart = phrases[:, :, None] != phrases[:, None, :]
        hidden = apart & ((phrases != WHOLE)[:, :, None] | (phrases < 0)[:, None, :])
        x = self.word(indices.clamp(min=0)) + self.phrase(phrases.clamp(0, MAX_PHRASES - 1)) + self.position
        for layer in self.layers:
            x = layer(x, hidden)
        return self.norm(x).masked_fill((indices < 0)[..., None], 0.0)

    def forward(self, prompts: list[Tokens]) -> list[Tensor]:
        """Encode prompts to a list of [L_i, dim] float32 context vectors, one a prompt."""
        device = self.position.device
        return [self.encode_batch(p.padded()[None].to(device))[0, : len(p.indices)] for p in prompts]
