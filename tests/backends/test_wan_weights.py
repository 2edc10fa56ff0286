"""What is found out about a folder of Wan2.1 weights without loading it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from navicache_cli.errors import WeightsError
from navicache_cli.plan.presets import load_presets


class Config(dict):
    """As the official configs: items are attributes."""

    __getattr__ = dict.__getitem__


CONFIG = Config(
    dim=24, num_layers=2, t5_checkpoint="t5.pth", t5_tokenizer="tokenizer", vae_checkpoint="vae.pth"
)


@pytest.fixture
def folder(tmp_path):
    """Weights in two shards, small enough to damage one file after another."""
    import torch
    from safetensors.torch import save_file

    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t2v", "dim": 24, "num_layers": 2}))
    shards = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": shards})
    )
    for name, file in shards.items():
        save_file({name: torch.arange(20_000.0)}, tmp_path / file)
    for name in ("t5.pth", "vae.pth"):
        torch.save({"w": torch.arange(50.0)}, tmp_path / name)
    return tmp_path


def checked(folder):
    from backends.wan.tasks import TASKS
    from backends.wan.weights import check_weights, digest_weights

    check_weights(folder, "Wan2.1-T2V-1.3B", TASKS["t2v-1.3B"], CONFIG)
    return digest_weights(folder, "Wan2.1-T2V-1.3B", CONFIG)


@pytest.mark.parametrize(
    "file", ["config.json", "part-2.safetensors", "t5.pth", "vae.pth", "tokenizer/tokenizer.json"]
)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_incomplete_weights(folder, file, damage):
    checked(folder)
    path = folder / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    if file.startswith("tokenizer") and damage != "missing":
        checked(folder)  # small text files are left to their own loader
        return
    with pytest.raises(WeightsError, match="incomplete") as caught:
        checked(folder)
    assert Path(file).parts[0] in caught.value.message
    assert "hf download Wan-AI/Wan2.1-T2V-1.3B" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", b"[" * 100_000, "in one another"),
        (
            "config.json",
            b'{"model_type": "t2v", "dim": 24, "num_layers": 1000000000}',
            "num_layers 1000000000 is beyond",
        ),
        (
            "config.json",
            b'{"model_type": "t2v", "dim": 24, "in_dim": 1000000000}',
            "in_dim 1000000000 is beyond",
        ),
        ("config.json", b'{"model_type": "t2v", "dim": NaN}', "NaN"),
        ("diffusion_pytorch_model.safetensors.index.json", b"[" * 100_000, "in one another"),
        ("part-1.safetensors", struct.pack("<Q", 100_000) + b"[" * 100_000, "damaged"),
        (
            "part-1.safetensors",
            struct.pack("<Q", 45) + b'{"a": {"data_offsets": [0, 1e400], "shape": 0}}',
            "damaged",
        ),
        ("part-1.safetensors", struct.pack("<Q", 2**62), "damaged"),
        ("vae.pth", b"PK\x05\x06" + b"\xff" * 18, "damaged"),
    ],
)
def test_hostile_weights(folder, file, content, told):
    (folder / file).write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        checked(folder)
    assert caught.value.hint


@pytest.mark.parametrize("file", ["config.json", "part-2.safetensors", "vae.pth"])
def test_pipes_and_devices_are_no_weights(folder, file):
    path = folder / file
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(WeightsError, match="it is a named pipe"):
        checked(folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="it is a device"):
        checked(folder)


def test_old_pytorch_files_pass(folder):
    import torch

    torch.save({"w": torch.arange(50.0)}, folder / "vae.pth", _use_new_zipfile_serialization=False)
    before = checked(folder)
    torch.save({"w": torch.arange(50.0) + 1}, folder / "vae.pth", _use_new_zipfile_serialization=False)
    assert checked(folder) != before


@pytest.mark.parametrize("other", [{"model_type": "i2v"}, {"dim": 5120}, {"num_layers": 40}])
def test_weights_of_another_task(folder, other):
    config = {"model_type": "t2v", "dim": 24, "num_layers": 2, **other}
    (folder / "config.json").write_text(json.dumps(config))
    ((key, value),) = other.items()
    with pytest.raises(WeightsError, match=f"expected weights of Wan2.1-T2V-1.3B .* found .*{key} {value}"):
        checked(folder)


def test_digest_follows_the_content(folder):
    import torch
    from safetensors.torch import save_file

    digests = {checked(folder)}
    changes = [
        lambda: save_file({"b": torch.arange(20_000.0) + 1}, folder / "part-2.safetensors"),
        lambda: torch.save({"w": torch.arange(50.0) + 1}, folder / "vae.pth"),
        lambda: (folder / "config.json").write_text('{"model_type": "t2v", "dim": 24}'),
    ]
    for change in changes:
        assert checked(folder) in digests, "reading changes nothing"
        change()
        digests.add(checked(folder))
    assert len(digests) == 4


def test_weights_are_named_by_task_and_size():
    from backends.wan.tasks import TASKS

    for task in load_presets()["wan"].tasks:
        assert task in TASKS
        assert TASKS[task].pictures == tuple(load_presets()["wan"].tasks[task].get("inputs", ()))
    assert TASKS["i2v-14B"].weights_name("480x832") == "Wan2.1-I2V-14B-480P"
    assert TASKS["i2v-14B"].weights_name("1280x720") == "Wan2.1-I2V-14B-720P"
    assert TASKS["t2i-14B"].weights_name("1024x1024") == "Wan2.1-T2V-14B"
