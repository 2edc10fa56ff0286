"""Parts of the Open-Sora backend that stand for something else: attention, absent packages, the VAE."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest
import torch

from backends.opensora.absent import OneProcessMesh, placeholders
from backends.opensora.cross_attention import XFORMERS, memory_efficient_attention
from backends.opensora.random_parts import RandomTextEncoder, RandomTokenizer, RandomVAE
from navicache_cli.errors import BackendError


def reference(q, k, v):
    """Attention of one sample [tokens, heads, channels], in float64."""
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    return ((q @ k.transpose(1, 2)) / q.shape[2] ** 0.5).softmax(-1) @ v


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("keys", [[7, 7], [3, 9]])
def test_block_diagonal_attention(dtype, near, keys):
    torch.manual_seed(0)
    q = torch.randn(1, 22, 4, 8, dtype=dtype)
    k, v = torch.randn(2, 1, sum(keys), 4, 8, dtype=dtype)
    mask = XFORMERS.ops.fmha.BlockDiagonalMask.from_seqlens([11, 11], keys)
    out = memory_efficient_attention(q, k, v, p=0.0, attn_bias=mask)
    assert out.dtype == dtype
    assert out.is_contiguous()
    parts = [(0, 11, 0, keys[0]), (11, 22, keys[0], sum(keys))]
    for start, end, first, last in parts:
        expected = reference(q[0, start:end], k[0, first:last], v[0, first:last]).transpose(0, 1)
        assert (out[0, start:end].double() - expected).abs().max() < near


def test_attention_without_a_mask_and_with_another():
    q, k = torch.randn(2, 5, 4, 8), torch.randn(2, 6, 4, 8)
    out = memory_efficient_attention(q, k, k)
    torch.testing.assert_close(
        out[1].double(), reference(q[1], k[1], k[1]).transpose(0, 1), atol=1e-5, rtol=0
    )
    with pytest.raises(BackendError, match="block-diagonal mask, found Tensor"):
        memory_efficient_attention(q, k, k, attn_bias=torch.zeros(5, 6))


@pytest.mark.skipif(
    importlib.util.find_spec("colossalai") is not None,
    reason="ColossalAI is installed: nothing stands for it",
)
def test_placeholders_are_there_and_gone():
    with placeholders():
        booster = importlib.import_module("colossalai.booster").Booster
        assert importlib.import_module("xformers.ops")
        cluster = importlib.import_module("colossalai.cluster.process_group_mesh")
    assert cluster.ProcessGroupMesh is OneProcessMesh
    with pytest.raises(BackendError, match=r"expected colossalai\.booster\.Booster, which is not"):
        booster()
    assert not {"colossalai", "colossalai.booster", "xformers"} & set(sys.modules)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("colossalai")


def test_an_installed_package_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "colossalai.py").write_text("REAL = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with placeholders():
        assert importlib.import_module("colossalai").REAL
    assert sys.modules.pop("colossalai").REAL


def test_several_processes_need_the_real_mesh():
    OneProcessMesh(1, 1, 1)
    with pytest.raises(BackendError, match=r"found a mesh of \(1, 2, 1\)"):
        OneProcessMesh(1, 2, 1)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (17, 5), (18, 6), (20, 6), (51, 15), (102, 30)])
def test_random_vae_has_the_real_ones_lengths(frames, latents):
    vae = RandomVAE()
    size = vae.get_latent_size((frames, 20, 33))
    assert size == [latents, 2, 4]
    video = vae.decode(torch.randn(1, 4, *size), num_frames=frames)
    assert video.shape == (1, 3, frames, 16, 32)
    assert video.abs().max() <= 1


def test_random_text():
    tokens = RandomTokenizer()(["a red fox", "a"], max_length=5)
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    text = RandomTextEncoder()(**tokens)["last_hidden_state"]
    assert text.shape == (2, 5, 4096)
    assert torch.equal(text[0, 0], text[1, 0])
    assert not torch.equal(text[0, 1], text[0, 2])
    assert RandomTokenizer()(["x " * 9], max_length=5)["attention_mask"].sum() == 5
