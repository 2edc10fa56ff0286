"""Parts of the Open-Sora backend that stand for something else: attention, absent packages, the VAE."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from backends.opensora.absent import OneProcessMesh, placeholders
from backends.opensora.cross_attention import XFORMERS, memory_efficient_attention
from backends.opensora.random_parts import RandomTextEncoder, RandomTokenizer, RandomVAE
from backends.opensora.self_attention import STANDIN, bind_self_attention
from backends.opensora.videosys import one_process_world
from navicache_cli.errors import BackendError
from tests.opensora_reference import self_attention

BLOCKS = Path(__file__).parents[1] / "doubles/opensora_repo/opensora/models/layers/blocks.py"


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


@pytest.fixture
def blocks(monkeypatch):
    """The double's module of attention, loaded under a name of its own."""
    spec = importlib.util.spec_from_file_location("easel_blocks", BLOCKS)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "easel_blocks", module)
    with placeholders():
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def standin_calls(monkeypatch):
    """The shapes of q that the stand-in of flash-attn is called with."""
    real, calls = STANDIN.flash_attn_func, []

    def counted(q, *arguments, **keywords):
        calls.append(q.shape)
        return real(q, *arguments, **keywords)

    monkeypatch.setattr(STANDIN, "flash_attn_func", counted)
    return calls


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(("batch", "tokens"), [(3, 40), (40, 3)])
def test_self_attention_without_flash_attn(blocks, standin_calls, batch, tokens, dtype, near):
    torch.manual_seed(0)
    module = blocks.Attention(32, 4, enable_flash_attn=True).to(dtype)
    x = torch.randn(batch, tokens, 32).to(dtype)
    for _ in range(2):
        assert bind_self_attention("easel_blocks") == ["Attention.forward"]
    out = module(x)
    assert out.dtype == dtype
    expected = self_attention(module, x)
    assert (out.double() - expected).abs().max() < near
    assert (expected - expected.mean(dim=1, keepdim=True)).abs().max() > 5 * near, "queries differ"
    assert standin_calls == ([(batch, tokens, 4, 8)] if tokens > batch else [])
    assert "flash_attn" not in sys.modules or sys.modules["flash_attn"] is not STANDIN


@pytest.mark.parametrize("gpu", [True, False])
def test_self_attention_with_flash_attn(blocks, standin_calls, monkeypatch, put_module, gpu):
    kernel = put_module(
        "flash_attn",
        __spec__=ModuleSpec("flash_attn", None),
        flash_attn_func=lambda q, k, v, dropout_p, softmax_scale: q * 0 + 7,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    official = blocks.Attention.forward
    assert bind_self_attention("easel_blocks") == ([] if gpu else ["Attention.forward"])
    assert (blocks.Attention.forward is official) == gpu
    module = blocks.Attention(32, 4, enable_flash_attn=True)
    module(torch.randn(3, 40, 32))
    assert len(standin_calls) == (0 if gpu else 1)
    assert sys.modules["flash_attn"] is kernel, "only the stand-in's forward sees the stand-in"


def test_self_attention_that_calls_no_flash_attn(put_module):
    put_module("easel_blocks", Attention=torch.nn.Linear)
    with pytest.raises(BackendError, match="expected easel_blocks with a forward that imports"):
        bind_self_attention("easel_blocks")


@pytest.mark.skipif(
    importlib.util.find_spec("colossalai") is not None,
    reason="run it where ColossalAI is not, so that something stands for it: pip uninstall colossalai",
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


def test_the_process_group_of_videosys_is_closed():
    """HunyuanVideo and others in this process would take one for a sign of several GPUs."""
    with one_process_world():
        assert (dist.get_rank(), dist.get_world_size()) == (0, 1)
        with one_process_world():
            group = dist.group.WORLD
        assert dist.group.WORLD is group, "another's stays"
    assert not dist.is_initialized()
