"""What must hold of every family on the GPU on paper, whatever method, region and predictor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from navicache_cli.plan.memory import estimate
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.presets import preset_for
from scripts.paper_gpu.families import FAMILIES, shallow
from scripts.paper_gpu.generation import OnPaper, generate_on_paper

SOON = {"threshold": "1000", "align_steps": "1"}  # skips as soon and as long as it may
STEPS = 6
# Blocks of the transformers that run, and of the official ones; pairs of them in Open-Sora.
DEPTH = 2
BLOCKS = {"t2v-14B": 40, "t2v-A14B": 40, "i2v-A14B": 40, "ti2v-5B": 30, "t2v": 28}
# By predictor or method: bytes made for each byte of a predicted output; what float32 takes, and copies of x.
# TeaCache's signal norms half precision in float32, and takes a modulation beside it.
TEMPORARIES = {"calibrated": 9.0, "taylorseer": 5.0, "teacache": 4.1}


def settings_of(model: str) -> list[dict[str, str]]:
    """Every method and predictor that a family offers, set so that steps are skipped."""
    ours = [
        {"predictor": one, "speedup": "1.5", "align_steps": "1"} for one in ("residual", "hold", "calibrated")
    ]
    others = [
        {"method": method, **({} if method in ("pab", "taylorseer", "magcache") else SOON)}
        for method in ("easycache", *preset_for(model).methods)
    ]
    return [
        {"mode": "off"},
        *ours,
        *({**one, "interval": "2"} if one["method"] == "taylorseer" else one for one in others),
    ]


def name_of(settings: dict[str, str]) -> str:
    """Of a case, for people."""
    return settings.get("method") or settings.get("predictor") or "off"


def run_on_paper(
    model: str,
    repo: str | Path,
    settings: dict[str, str],
    width: dict[str, object] | None = None,
    **options: str,
) -> OnPaper:
    """A generation at the preset's own size, in full width and two blocks deep.

    Args:
        model: the family.
        repo: its official code, or the double of that.
        settings: of the cache.
        width: the architecture, where the code's own is not the official one.
        options: further ones.
    """
    plan = replace(_plan(model, settings, repo=str(repo), **options), offload=False)
    with shallow(model, width):
        return generate_on_paper(plan, FAMILIES[model].parts)


def _plan(model: str, settings: dict[str, str], **options: str) -> Plan:
    settings = dict(settings)
    own = [f"interval={settings.pop('interval')}"] if "interval" in settings else []
    flags = {"model": model, "weights": "random-small", "steps": str(STEPS), **options}
    return build_plan({**flags, **settings}, own, None, {})


def assert_kept_as_told(seen: OnPaper, model: str, settings: dict[str, str], **options: str) -> None:
    """What it kept is what `navicache memory` says of the task, whose blocks are more.

    Args:
        seen: the generation, `DEPTH` blocks deep.
        model: the family.
        settings: of the cache.
        options: further ones.
    """
    plan = _plan(model, settings, **options)
    told = estimate(plan)
    assert told is not None
    deeper = BLOCKS[plan.task] / DEPTH if name_of(settings) == "pab" else 1
    kept = seen.kept * deeper / 2**30
    assert kept == pytest.approx(told.cache, rel=0.03), f"kept {kept:.4f} GiB, told {told.cache:.4f}"


def assert_sound(seen: OnPaper, settings: dict[str, str], tokens: int) -> None:
    """It ran, on one device and in types that fit; and what it kept, made and waited for is as promised.

    Args:
        seen: the generation.
        settings: of the cache.
        tokens: of one branch's video, in the transformer.
    """
    session, name = seen.run.session, name_of(settings)
    assert len(session.records) == STEPS
    assert seen.waits <= STEPS + 1, "one wait a step, and one at the end"
    assert session.peak_cache_bytes == seen.kept, "bytes reported are bytes kept"
    assert session.cache_bytes == 0, "nothing is kept afterwards"
    assert seen.mistyped == 0, "predicted outputs have the type of the model's own"
    assert seen.matrix < tokens**2, "no mask, and no scores, of all tokens with all"
    if name == "off":
        assert seen.kept == 0
    elif name == "pab":
        assert session.parts.calls_saved > 0, "something is skipped"
    else:
        assert session.transformer_calls_saved > 0, "something is skipped"
        assert 0 < seen.temporaries <= TEMPORARIES.get(name, 4.0), "temporaries stay small"
