"""`navicache memory`, and who else tells of memory."""

from __future__ import annotations

import json

import pytest

from navicache_cli.errors import UsageError
from tests.program import invoke


def test_the_table():
    told = invoke("memory", "--model", "wan", "--task", "i2v-14B", "--method", "fbcache", "--gpu-memory", 80)
    assert "i2v-14B, 1280x720, 81 frames, fbcache: 81." in told
    assert "does not fit in 80.0 GiB" in told
    assert "--method navicache: 77." in told


def test_the_document():
    told = invoke("memory", "--model", "wan", "--task", "t2v-14B", "--gpu-memory", 80, "--json")
    document = json.loads(told)
    assert document["fits"] is True
    assert document["stage"] == "denoise"
    parts = (document["weights_gib"], document["activations_gib"], document["cache_gib"])
    assert sum(parts) == pytest.approx(document["peak_gib"], abs=0.01)
    assert document["stages"]["denoise"]["weights"].keys() == {"transformer", "VAE"}
    assert document["command"].startswith("python -m scripts.measure_memory wan")
    # Not --t5-cpu: the text encoder is moved off anyway before the transformer runs.
    assert {one["options"] for one in document["instead"]} == {"--size 832x480", "--size 480x832"}


@pytest.mark.parametrize(
    ("model", "task", "parts"),
    [
        ("wan2.2", "t2v-A14B", {"low-noise transformer", "VAE"}),
        ("wan2.2", "i2v-A14B", {"low-noise transformer", "VAE"}),
        ("wan2.2", "ti2v-5B", {"transformer", "VAE"}),
        ("hunyuan", "t2v-544p", {"transformer", "text encoder", "second text encoder", "VAE"}),
        ("hunyuan", "t2v-720p", {"transformer", "text encoder", "second text encoder", "VAE"}),
        ("opensora", "t2v", {"transformer", "text encoder", "VAE"}),
    ],
)
def test_every_official_model_has_figures(model, task, parts):
    document = json.loads(invoke("memory", "--model", model, "--task", task, "--json"))
    assert document["stages"]["denoise"]["weights"].keys() == parts
    assert document["peak_gib"] >= document["stages"]["denoise"]["total"] > document["cache_gib"] > 0


# diffusers' own question, for weights, is none that this command could be answered.
@pytest.mark.parametrize("model", ["tiny", "diffusers"])
def test_a_model_without_figures(model):
    with pytest.raises(UsageError, match=f"whose memory was measured, found {model}") as refused:
        invoke("memory", "--model", model)
    assert refused.value.hint == "--model hunyuan, --model opensora, --model wan, --model wan2.2"


def test_several_gpus_have_no_figures():
    shared = ("--set", "ulysses=2", "--set", "fsdp=true", "--set", "offload=false")
    with pytest.raises(UsageError, match="one GPU, found ulysses and fsdp of several") as refused:
        invoke("memory", "--model", "wan", *shared)
    assert refused.value.hint == "--set ulysses=1 --set fsdp=false"
    assert "peak_gib" in invoke("memory", "--model", "wan", *shared, *refused.value.hint.split(), "--json")


def test_the_plan_tells_of_memory():
    told = invoke("generate", "--model", "wan", "--task", "t2v-14B", "--method", "pab", "--dry-run")
    assert "memory: about 184." in told
    assert "cache of pab 115." in told
