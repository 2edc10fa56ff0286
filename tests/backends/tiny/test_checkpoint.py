"""Folders of weights that hold something else than they should."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from backends.tiny.backend import PARTS, TinyPipeline, shipped_weights
from navicache_cli.errors import WeightsError

CONFIG = json.loads((shipped_weights() / "config.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_weights(), tmp_path / "weights"))


def assert_refused(folder: Path, told: str) -> None:
    with pytest.raises(WeightsError, match=told) as found:
        TinyPipeline(folder, "cpu")
    assert found.value.hint
    assert len(found.value.message) < 400


@pytest.mark.parametrize("key", CONFIG)
@pytest.mark.parametrize(
    "value", ["null", "-1", "0", "NaN", "1e400", "1e9", "1000000000", "9" * 400, '"x"', "[]", "{}", "true"]
)
def test_values_of_the_configuration(folder: Path, key: str, value: str) -> None:
    text = json.dumps({**CONFIG, key: "…"}, ensure_ascii=False).replace('"…"', value)
    (folder / "config.json").write_text(text)
    assert_refused(folder, rf"config\.json: ({key} expects|finite numbers)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[]", "not a transformer configuration"),
        ("[" * 100_000, "in one another"),
        (json.dumps({**CONFIG, "layers": 3}), "unknown key 'layers'"),
        (json.dumps({key: value for key, value in CONFIG.items() if key != "dim"}), "dim expects .* nothing"),
        (json.dumps({**CONFIG, "num_heads": 5}), "dim expects an even number for each of num_heads"),
        (json.dumps({**CONFIG, "num_layers": 7}), "does not hold weights of tiny's transformer"),
        (json.dumps({**CONFIG, "ffn_dim": 65536}), "does not hold weights of tiny's transformer"),
    ],
)
def test_configurations(folder: Path, text: str, told: str) -> None:
    (folder / "config.json").write_text(text)
    assert_refused(folder, told)


def with_entry(part: Path, **facts: object) -> bytes:
    """A safetensors file whose header lies about its first tensor."""
    data = part.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    first = next(key for key in header if key != "__metadata__")
    header[first].update(facts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "facts",
    [
        {"dtype": "F4"}, {"dtype": "F8_E8M0"}, {"dtype": "I32"}, {"dtype": "C64"}, {"dtype": "X"},
        {"dtype": None}, {"shape": [-1]}, {"shape": [10**18]}, {"shape": [10**30]}, {"shape": None},
        {"data_offsets": [0, 10**18]}, {"data_offsets": [5, 0]}, {"data_offsets": ["a", "b"]},
    ],
)  # fmt: skip
def test_headers_that_lie(folder: Path, part: str, facts: dict[str, object]) -> None:
    path = folder / f"{part}.safetensors"
    path.write_bytes(with_entry(path, **facts))
    assert_refused(folder, f"does not hold weights of tiny's {part}")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 7, struct.pack("<Q", 2**63), struct.pack("<Q", 100_000) + b"[" * 100_000, save({})]
)
def test_files_that_are_none(folder: Path, data: bytes) -> None:
    (folder / "codec.safetensors").write_bytes(data)
    assert_refused(folder, "does not hold weights of tiny's codec")


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    path = folder / "codec.safetensors"
    save_file({name: tensor.to(torch.int32) for name, tensor in load_file(path).items()}, path)
    assert_refused(folder, "floating point numbers expected, found torch.int32")


def test_only_regular_files_are_read(folder: Path) -> None:
    path = folder / "transformer.safetensors"
    path.unlink()
    os.mkfifo(path)
    assert_refused(folder, "it is a named pipe")
    path.unlink()
    path.symlink_to("/dev/zero")
    assert_refused(folder, "it is a device")


def test_other_precisions_are_loaded_as_float32(folder: Path) -> None:
    path = folder / "codec.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(half, path)
    loaded = TinyPipeline(folder, "cpu").codec.state_dict()
    assert loaded.keys() == half.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())
