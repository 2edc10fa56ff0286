"""The replacement of flash-attn against plain loops in float64, and how it is bound."""

from __future__ import annotations

import sys

import pytest
import torch

from backends.official.attention import bind_attention, flash_attention
from navicache_cli.errors import BackendError

# Rounding of inputs and output to bfloat16 (8 bits) of values around 1.
BFLOAT_ERROR = 3e-2


def reference(q, k, v, q_lens=None, k_lens=None, scale=None, q_scale=1.0, causal=False, window=(-1, -1)):
    """One sample, one head, one query at a time; what flash-attn documents for variable lengths."""
    batch, q_size, heads, channels = q.shape
    k_size, group = k.shape[1], heads // k.shape[2]
    scale = channels**-0.5 if scale is None else scale
    out = torch.zeros(batch, q_size, heads, v.shape[3], dtype=torch.float64)
    for b in range(batch):
        nq = q_size if q_lens is None else int(q_lens[b])
        nk = k_size if k_lens is None else min(int(k_lens[b]), k_size)
        for head in range(heads):
            for i in range(nq):
                at = i + nk - nq
                seen = [
                    j
                    for j in range(nk)
                    if (not causal or j <= at)
                    and (window[0] < 0 or j >= at - window[0])
                    and (window[1] < 0 or j <= at + window[1])
                ]
                if not seen:
                    continue
                keys, values = k[b, seen, head // group].double(), v[b, seen, head // group].double()
                weights = (keys @ (q[b, i, head].double() * q_scale * scale)).softmax(0)
                out[b, i, head] = weights @ values
    return out


CASES = {
    "plain": {},
    "ragged keys": {"k_lens": [7, 3, 5]},
    "ragged keys and queries": {"k_lens": [7, 2, 5], "q_lens": [4, 6, 1]},
    "the same short length for all": {"k_lens": [4, 4, 4], "q_lens": [5, 5, 5]},
    "no key, no query": {"k_lens": [0, 7, 7], "q_lens": [6, 0, 6]},
    "lengths as tensors": {"k_lens": torch.tensor([7, 3, 5]), "q_lens": torch.tensor([6, 6, 2])},
    "longer than there is": {"k_lens": [900, 3, 7]},
    "causal": {"causal": True},
    "causal, ragged, queries without keys": {"causal": True, "k_lens": [7, 3, 1]},
    "window": {"window_size": (2, 1)},
    "left window, ragged": {"window_size": (1, -1), "k_lens": [7, 3, 5]},
    "causal window": {"window_size": (2, 3), "causal": True},
    "scales": {"softmax_scale": 0.4, "q_scale": 1.7},
}


def tensors(dtype, heads=2, key_heads=2):
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return draw(3, 6, heads, 8), draw(3, 7, key_heads, 8), draw(3, 7, key_heads, 4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, BFLOAT_ERROR)])
def test_equals_float64(name, dtype, tolerance):
    arguments = CASES[name]
    q, k, v = tensors(dtype)
    names = {"window_size": "window", "softmax_scale": "scale"}
    expected = reference(q, k, v, **{names.get(key, key): value for key, value in arguments.items()})
    found = flash_attention(q, k, v, **arguments)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() < tolerance


def test_padding_has_no_influence():
    q, k, v = tensors(torch.float32)
    before = flash_attention(q, k, v, k_lens=[7, 3, 5])
    k[1, 3:], v[1, 3:], k[2, 5:], v[2, 5:] = 1e4, 1e4, torch.inf, torch.nan
    assert torch.equal(flash_attention(q, k, v, k_lens=[7, 3, 5]), before)
    assert not torch.allclose(flash_attention(q, k, v, k_lens=[7, 4, 5])[1], before[1])


def test_grouped_heads():
    q, k, v = tensors(torch.float32, heads=6, key_heads=2)
    assert (
        flash_attention(q, k, v, k_lens=[7, 3, 5]).double() - reference(q, k, v, k_lens=[7, 3, 5])
    ).abs().max() < 1e-5


def test_mixed_types_keep_the_querys():
    q, k, v = tensors(torch.float32)
    out = flash_attention(q, k, v.bfloat16(), version=2, deterministic=True)
    assert out.dtype == torch.float32
    assert (out.double() - reference(q, k, v)).abs().max() < BFLOAT_ERROR


def test_nothing_ragged_takes_one_call_without_a_mask(monkeypatch):
    import backends.official.attention as module

    real, calls = module.scaled_dot_product_attention, []

    def counted(*arguments, attn_mask, **options):
        calls.append(attn_mask)
        return real(*arguments, attn_mask=attn_mask, **options)

    monkeypatch.setattr(module, "scaled_dot_product_attention", counted)
    q, k, v = tensors(torch.float32)
    flash_attention(q, k, v, k_lens=torch.tensor([5, 5, 5]))
    assert calls == [None]
    flash_attention(q, k, v, k_lens=[5, 5, 4])
    assert calls == [None] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="run it on a machine with an NVIDIA GPU")
@pytest.mark.parametrize("name", CASES)
def test_equals_float64_on_a_gpu(name):
    arguments = CASES[name]
    q, k, v = tensors(torch.float32)
    names = {"window_size": "window", "softmax_scale": "scale"}
    expected = reference(q, k, v, **{names.get(key, key): value for key, value in arguments.items()})
    found = flash_attention(q.cuda(), k.cuda(), v.cuda(), **arguments)
    assert (found.cpu().double() - expected).abs().max() < BFLOAT_ERROR


@pytest.fixture
def package(put_module):
    """Modules `paint`, `paint.attention` and two users, one under another name."""

    def official(q, k, v, k_lens=None, causal=False):
        raise AssertionError("flash-attn is not here")

    put_module("paint")
    source = put_module("paint.attention", flash_attention=official, FLASH_ATTN_2_AVAILABLE=False)
    put_module("paint.model", flash_attention=official)
    put_module("paint.clip", flash_attention=lambda q: q)
    put_module("painter", flash_attention=official)
    return source


def test_binds_every_module_that_imported_it(package):
    official = package.flash_attention
    assert bind_attention("paint", "paint.attention") == [
        "paint.attention.flash_attention",
        "paint.model.flash_attention",
    ]
    assert sys.modules["paint.model"].flash_attention is package.flash_attention is flash_attention
    assert sys.modules["paint.clip"].flash_attention is not flash_attention, "another function of that name"
    assert sys.modules["painter"].flash_attention is official, "another package"
    bind_attention("paint", "paint.attention")
    assert package.flash_attention is flash_attention


def test_leaves_flash_attn_alone(package):
    package.FLASH_ATTN_2_AVAILABLE = True
    official = package.flash_attention
    assert bind_attention("paint", "paint.attention") == []
    assert package.flash_attention is official


def test_says_what_it_does_not_know(package):
    package.flash_attention = lambda q, k, v, sinks: q
    with pytest.raises(BackendError, match="found also sinks"):
        bind_attention("paint", "paint.attention")
    del package.flash_attention
    with pytest.raises(BackendError, match=r"expected paint\.attention\.flash_attention, found none"):
        bind_attention("paint", "paint.attention")
