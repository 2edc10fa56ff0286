"""The doubles of the official repositories beside the real ones: what both define takes the same parameters.

Enabled, each for its own test, by the variables of conftest.py and test_opensora.py. No official code runs.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from backends.hunyuan.tasks import HUNYUAN
from backends.opensora.facts import OPENSORA, VIDEOSYS
from backends.wan.tasks import WAN, WAN22
from tests.doubles.double import Double
from tests.repos.checkouts import checkout_of

# Whose parameters the backends pass or a site looks up: what a double must have, not only may.
CONTRACTS = {
    Double("wan"): (
        WAN.variable, WAN.url,
        {"WanT2V.__init__", "WanT2V.generate", "WanI2V.generate", "WanModel.forward", "flash_attention"},
    ),
    Double("wan2.2", "wan22"): (
        WAN22.variable, WAN22.url,
        {
            "WanT2V.__init__", "WanT2V.generate", "WanI2V.generate", "WanTI2V.generate", "WanModel.forward",
            "flash_attention",
        },
    ),
    Double("hunyuan"): (
        HUNYUAN.variable, HUNYUAN.url,
        {
            "parse_args", "Inference.from_pretrained", "HunyuanVideoSampler.predict", "get_cu_seqlens",
            "HYVideoDiffusionTransformer.forward",
        },
    ),
    Double("opensora"): (
        OPENSORA.variable, OPENSORA.url,
        {"STDiT3.forward", "STDiT3Block.forward", "RFLOW.sample", "build_module", "apply_mask_strategy"},
    ),
    Double("opensora", "videosys"): (
        "NAVICACHE_VIDEOSYS_REPO", VIDEOSYS.url,
        {"STDiT3.forward", "STDiT3Block.forward", "OpenSoraConfig.__init__", "OpenSoraPipeline.generate"},
    ),
}  # fmt: skip


def parameters(source: Path) -> dict[str, list[str]]:
    """Names of the parameters of all functions and methods of a file, by `Class.method`."""
    found = {}

    def walk(body, inside):
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                given = node.args
                names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                more = [stars for stars, one in (("*", given.vararg), ("**", given.kwarg)) if one]
                found[inside + node.name] = names + more

    walk(ast.parse(source.read_text()).body, "")
    return found


@pytest.mark.parametrize("double", CONTRACTS, ids=lambda double: double.path.name)
def test_a_double_takes_what_the_official_code_takes(double):
    variable, url, contract = CONTRACTS[double]
    official = Path(checkout_of(variable, url))
    compared = set()
    for file in double.path.rglob("*.py"):
        place = official / file.relative_to(double.path)
        theirs = parameters(place) if place.is_file() else {}
        for name, names in parameters(file).items():
            if name in theirs:
                compared.add(name)
                # A double may leave some out; none is its own, and the order is the official one.
                assert names == [one for one in theirs[name] if one in names], f"{name} in {file.name}"
    assert contract <= compared
