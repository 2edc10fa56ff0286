"""The replacement of flash-attn's packed kernel against plain loops in float64, and how it is bound."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch

from backends.official.varlen_attention import bind_varlen_attention, flash_attn_varlen_func, get_cu_seqlens
from navicache_cli.errors import BackendError

# Rounding of inputs and output to bfloat16 (8 bits) of values around 1.
BFLOAT_ERROR = 3e-2


def reference(q, k, v, starts_q, starts_k, scale=None, causal=False):
    """One segment, one head, one query at a time."""
    scale = q.shape[2] ** -0.5 if scale is None else scale
    group = q.shape[1] // k.shape[1]
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=torch.float64)
    for (q_start, q_end), (k_start, k_end) in zip(pairwise(starts_q), pairwise(starts_k), strict=True):
        for head in range(q.shape[1]):
            for i in range(q_start, q_end):
                # The last query of a segment stands at its last key.
                seen = k_end - (q_end - 1 - i) if causal else k_end
                keys = k[k_start:seen, head // group].double()
                if len(keys):
                    weights = (keys @ (q[i, head].double() * scale)).softmax(0)
                    out[i, head] = weights @ v[k_start:seen, head // group].double()
    return out


CASES = {
    "one segment": ([0, 12], [0, 12], {}),
    "video and text, padding": ([0, 9, 12], [0, 9, 12], {}),
    "two samples": ([0, 5, 6, 8, 12], [0, 5, 6, 8, 12], {}),
    "no padding": ([0, 6, 6, 12, 12], [0, 6, 6, 12, 12], {}),
    "keys of other lengths": ([0, 4, 12], [0, 11, 12], {}),
    "no key, no query": ([0, 0, 5, 12], [0, 3, 3, 12], {}),
    "ends before the end": ([0, 4, 7], [0, 2, 7], {}),
    "tensors": (torch.tensor([0, 7, 12]), torch.tensor([0, 7, 12], dtype=torch.int32), {}),
    "scale": ([0, 9, 12], [0, 9, 12], {"softmax_scale": 0.4}),
    "causal": ([0, 4, 12], [0, 6, 12], {"causal": True}),
}


def tensors(dtype, key_heads=4):
    generator = torch.Generator().manual_seed(5)
    shapes = ((12, 4, 8), (12, key_heads, 8), (12, key_heads, 6))
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, BFLOAT_ERROR)])
def test_equals_float64(name, key_heads, dtype, tolerance):
    starts_q, starts_k, options = CASES[name]
    q, k, v = tensors(dtype, key_heads)
    told = {"softmax_scale": "scale"}
    expected = reference(q, k, v, starts_q, starts_k, **{told.get(a, a): b for a, b in options.items()})
    found = flash_attn_varlen_func(q, k, v, starts_q, starts_k, 12, 12, **options)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() < tolerance


def test_segments_do_not_see_each_other():
    q, k, v = tensors(torch.float32)
    before = flash_attn_varlen_func(q, k, v, [0, 9, 12], [0, 9, 12], 12, 12)
    k[9:], v[9:] = 1e4, torch.nan
    assert torch.equal(flash_attn_varlen_func(q, k, v, [0, 9, 12], [0, 9, 12], 12, 12)[:9], before[:9])
    assert not torch.allclose(flash_attn_varlen_func(q, k, v, [0, 8, 12], [0, 8, 12], 12, 12)[:8], before[:8])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="run it on a machine with an NVIDIA GPU")
@pytest.mark.parametrize("name", CASES)
def test_equals_float64_on_a_gpu(name):
    starts_q, starts_k, options = CASES[name]
    q, k, v = tensors(torch.float32)
    told = {"softmax_scale": "scale"}
    expected = reference(q, k, v, starts_q, starts_k, **{told.get(a, a): b for a, b in options.items()})
    found = flash_attn_varlen_func(q.cuda(), k.cuda(), v.cuda(), starts_q, starts_k, 12, 12, **options)
    assert (found.cpu().double() - expected).abs().max() < BFLOAT_ERROR


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int32])
def test_lengths(dtype):
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).to(dtype)
    lengths = get_cu_seqlens(mask, 10)
    assert lengths.tolist() == [0, 12, 14, 28, 28, 39, 42]
    assert lengths.dtype == torch.int32
    assert lengths.device.type == "cpu"


@pytest.fixture
def package(put_module):
    """Modules `paint`, `paint.attention` without flash-attn, and a user of each name."""

    def official(text_mask, img_len):
        raise AssertionError("there is no GPU")

    put_module("paint")
    source = put_module("paint.attention", flash_attn_varlen_func=None, get_cu_seqlens=official)
    put_module("paint.model", get_cu_seqlens=official)
    put_module("paint.refiner", flash_attn_varlen_func=None)
    put_module("painter", get_cu_seqlens=official, flash_attn_varlen_func=None)
    return source


def test_binds_every_module_that_imported_a_name(package):
    official = package.get_cu_seqlens
    bound = bind_varlen_attention("paint", "paint.attention")
    assert sorted(bound) == [
        "paint.attention.flash_attn_varlen_func", "paint.attention.get_cu_seqlens",
        "paint.model.get_cu_seqlens", "paint.refiner.flash_attn_varlen_func",
    ]  # fmt: skip
    assert package.flash_attn_varlen_func is flash_attn_varlen_func
    assert sys.modules["paint.model"].get_cu_seqlens is get_cu_seqlens
    assert not hasattr(sys.modules["paint.model"], "flash_attn_varlen_func")
    assert sys.modules["painter"].get_cu_seqlens is official, "another package"
    bind_varlen_attention("paint", "paint.attention")
    assert package.get_cu_seqlens is get_cu_seqlens


@pytest.mark.parametrize("gpu", [True, False])
def test_leaves_flash_attn_alone_where_it_can_run(package, monkeypatch, gpu):
    def kernel():
        raise AssertionError("never called")

    official = package.get_cu_seqlens
    package.flash_attn_varlen_func = kernel
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    bound = bind_varlen_attention("paint", "paint.attention")
    assert (package.flash_attn_varlen_func is kernel) == gpu
    assert (package.get_cu_seqlens is official) == gpu
    assert (bound == []) == gpu


def test_says_what_it_does_not_know(package):
    package.get_cu_seqlens = lambda text_mask, img_len, sinks: None
    with pytest.raises(BackendError, match="found text_mask, img_len, sinks"):
        bind_varlen_attention("paint", "paint.attention")
    del package.flash_attn_varlen_func
    with pytest.raises(BackendError, match=r"expected paint\.attention .*found no flash_attn_varlen_func"):
        bind_varlen_attention("paint", "paint.attention")
