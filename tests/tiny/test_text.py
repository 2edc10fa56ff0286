from __future__ import annotations

import pytest
import torch

from backends.tiny.text import TEXT_LEN, TOKENS, TextEncoder, tokenize
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
    padded = torch.full((2, TEXT_LEN), -1)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt.indices)] = torch.tensor(prompt.indices)
    with torch.no_grad():
        batch = encoder.encode_batch(padded)
        for alone, row in zip(encoder(prompts), batch, strict=True):
            torch.testing.assert_close(alone, row[: len(alone)])
            assert row[len(alone) :].abs().max() == 0
