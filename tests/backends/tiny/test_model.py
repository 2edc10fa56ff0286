"""The transformer is Wan2.1's: same parameter names, same numbers as diffusers and the official class."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.model import TinyWan, coordinates
from backends.tiny.twin import diffusers_model

FRAMES, HEIGHT, WIDTH = 5, 8, 8
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def tiny() -> TinyPipeline:
    return TinyPipeline(shipped_weights())


@pytest.fixture(scope="module")
def inputs(tiny) -> dict:
    generator = torch.Generator().manual_seed(3)
    config = tiny.transformer.config
    return {
        "x": torch.randn(config["out_dim"], FRAMES, HEIGHT, WIDTH, generator=generator),
        "y": coordinates((FRAMES, HEIGHT, WIDTH)),
        "context": torch.randn(7, config["text_dim"], generator=generator),
    }


@torch.inference_mode()
def ours(tiny, inputs, t: int) -> torch.Tensor:
    return tiny.transformer([inputs["x"]], torch.tensor([t]), [inputs["context"]], 80, y=[inputs["y"]])[0]


@pytest.mark.parametrize("t", [999, 500, 3])
def test_equals_diffusers(tiny, inputs, t):
    theirs = diffusers_model(tiny.transformer)
    padded = torch.nn.functional.pad(inputs["context"], (0, 0, 0, tiny.transformer.text_len - 7))
    with torch.inference_mode():
        both = torch.cat([inputs["x"], inputs["y"]])
        expected = theirs(both[None], torch.tensor([t]), padded[None], return_dict=False)[0][0]
    found = ours(tiny, inputs, t)
    assert expected.abs().max() > 0.5, "a model that outputs nothing proves nothing"
    assert (found - expected).abs().max() < TOLERANCE


@pytest.mark.skipif(
    "NAVICACHE_WAN_REPO" not in os.environ,
    reason="set NAVICACHE_WAN_REPO to a checkout of Wan-Video/Wan2.1 to compare with the official class",
)
@pytest.mark.parametrize("t", [999, 500, 3])
def test_equals_the_official_class(tiny, inputs, t, monkeypatch):
    official = load_official_model(Path(os.environ["NAVICACHE_WAN_REPO"]), monkeypatch)
    config = {**tiny.transformer.config, "patch_size": tuple(tiny.transformer.config["patch_size"])}
    theirs = official.WanModel(**config).eval()
    checkpoint = {k: v.float() for k, v in load_file(shipped_weights() / "transformer.safetensors").items()}
    theirs.load_state_dict(checkpoint, strict=True)
    with torch.inference_mode():
        expected = theirs([inputs["x"]], torch.tensor([t]), [inputs["context"]], 80, y=[inputs["y"]])[0]
    assert expected.abs().max() > 0.5
    assert (ours(tiny, inputs, t) - expected).abs().max() < TOLERANCE


def load_official_model(repository: Path, monkeypatch):
    """Import wan/modules/model.py alone (the package wants a GPU), with torch in flash-attn's place."""
    import importlib.util
    import types

    for name in ("official_wan", "official_wan.modules"):
        package = types.ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)

    def load(name):
        path = repository / "wan" / "modules" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"official_wan.modules.{name}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    load("attention")
    model = load("model")

    def attention(q, k, v, k_lens=None, **_):
        assert k_lens is None or bool((k_lens == k.shape[1]).all()), "this stand-in takes no padding"
        heads_first = [t.transpose(1, 2) for t in (q, k.type_as(q), v.type_as(q))]
        return torch.nn.functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)

    model.flash_attention = attention
    return model


def test_training_attention_equals_inference_attention():
    torch.manual_seed(0)
    model = TinyWan(in_dim=16, dim=48, ffn_dim=96, num_heads=2, num_layers=2)
    torch.nn.init.normal_(model.head.head.weight)
    x, t, context = torch.randn(2, 16, 2, 4, 4), torch.tensor([900.0, 20.0]), torch.randn(2, 24, 128)
    with torch.no_grad():
        torch.testing.assert_close(
            model.train().forward_batch(x, t, context), model.eval().forward_batch(x, t, context)
        )


def test_coordinates_tell_every_place_apart():
    places = coordinates((5, 8, 6)).flatten(1).T
    assert places.shape == (240, 9)
    assert torch.unique(places, dim=0).shape == places.shape
    first, last = coordinates((5, 8, 6))[0, [0, -1], 0, 0]
    assert (first - last) > 1.8, "time, from its beginning to its end"


def test_latents_of_different_shapes_are_refused():
    model = TinyWan(in_dim=16, dim=48, ffn_dim=96, num_heads=2, num_layers=1)
    with pytest.raises(ValueError, match="one shape"):
        model(
            [torch.zeros(16, 2, 4, 4), torch.zeros(16, 1, 4, 4)],
            torch.tensor([1, 1]),
            [torch.zeros(1, 128)] * 2,
        )


def test_weights_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in shipped_weights().iterdir()) <= 16 * 2**20
