from __future__ import annotations

import pytest
import torch

from backends.tiny.text import TEXT_LEN, TOKENS, WHOLE, TextEncoder, tokenize
from navicache_cli.errors import UsageError


def words(prompt: str) -> list[str]:
    return [TOKENS[index] for index in tokenize(prompt).indices]


def test_known_words_keep_their_order_and_end_with_the_end_token():
    assert words("A red Circle, moving RIGHT!") == ["red", "circle", "moving", "right", "<end>"]


def test_synonyms_and_articles():
    assert words("the violet ball going upwards on a black background") == words(
        "purple circle moving up dark background"
    )


def test_unknown_words_are_told():
    parsed = tokenize("a red elephant moving left with an Elephant")
    assert parsed.unknown == ("elephant",)
    assert [TOKENS[i] for i in parsed.indices] == ["red", "moving", "left", "<end>"]


def test_empty_prompt_is_unconditional():
    assert words("") == words("   ") == ["<end>"]


@pytest.mark.parametrize("prompt", ["elephant", "!!!", "ein roter Kreis", "🦀", "a the"])
def test_no_known_word_lists_the_vocabulary(prompt):
    with pytest.raises(UsageError) as caught:
        tokenize(prompt)
    assert "purple" in caught.value.hint
    assert "checkered" in caught.value.hint


def test_too_many_words():
    tokenize("red " * (TEXT_LEN - 1))
    with pytest.raises(UsageError, match="up to 23"):
        tokenize("red " * TEXT_LEN)


def test_encoding_alone_equals_encoding_in_a_padded_batch():
    torch.manual_seed(0)
    encoder = TextEncoder().eval()
    prompts = [tokenize("red circle"), tokenize("a blue star moving up and a red ring growing")]
    padded = torch.stack([prompt.padded() for prompt in prompts])
    with torch.no_grad():
        batch = encoder.encode_batch(padded)
        for alone, row in zip(encoder(prompts), batch, strict=True):
            torch.testing.assert_close(alone, row[: len(alone)])
            assert row[len(alone) :].abs().max() == 0


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a red circle moving left", "red circle moving left"),
        (
            "an orange star still and a blue ring moving up on a dark background, camera panning right",
            "orange star still | and blue ring moving up | dark background | camera panning right",
        ),
        ("camera panning left, light background, box", "camera panning left | light background | square"),
        ("growing, a cyan star; a blue square and still", "growing cyan star | blue square and still"),
        ("red disc, dark and striped, moving down", "red circle moving down | dark and striped"),
        ("a star on a dark background a ring", "star | dark background | ring"),
        ("camera moving left", "camera moving left"),
        ("and", "and"),
    ],
)  # fmt: skip
def test_phrases(prompt, phrases):
    tokens = tokenize(prompt)
    found: dict[int, list[str]] = {}
    for index, phrase in zip(tokens.indices[:-1], tokens.phrases[:-1], strict=True):
        found.setdefault(phrase, []).append(TOKENS[index])
    assert sorted(map(" ".join, found.values())) == sorted(phrases.split(" | "))
    assert tokens.phrases[-1] == WHOLE


def test_words_look_only_at_their_own_phrase_and_the_end_at_all():
    torch.manual_seed(0)
    encoder = TextEncoder().eval()
    prompts = [
        tokenize(f"red circle {motion} and blue ring moving up, dark") for motion in ("still", "growing")
    ]
    with torch.no_grad():
        first, second = encoder(prompts)
    changed = (first - second).abs().amax(1) > 1e-6
    words = [TOKENS[index] for index in prompts[0].indices]
    assert [word for word, one in zip(words, changed.tolist(), strict=True) if one] == [
        "red", "circle", "still", "<end>",
    ]  # fmt: skip
