"""How each peer is switched on, as its own library documents it.

Every generation has fresh models, so nothing has to be switched off again. Both branches of the guidance
keep what is their own: in diffusers by cache contexts, except for its PAB, whose state knows none and which
therefore gets a model for each branch; in cache-dit by `enable_separate_cfg`, which counts the calls.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    from backends.tiny.twin import Twin
    from navicache_cli.plan.plan import Plan

APART = ("diffusers:pab",)  # a model for each branch


def switch_on(twin: Twin, peer: str, knobs: dict[str, Any], plan: Plan) -> None:
    """Switch a peer's cache on in fresh models.

    Args:
        twin: whose models; of those in `APART` there is one a branch.
        peer, knobs: see `peers.PEERS`.
        plan: what will be generated.

    Raises:
        UsageError: a knob does not fit the model, or MagCache's ratios are not known.
    """
    if peer == "diffusers:off":
        return
    if peer.startswith("cache-dit:"):
        _switch_on_dbcache(twin, knobs, plan)
        return
    makers = {
        "diffusers:fbcache": _fbcache,
        "diffusers:magcache": _magcache,
        "diffusers:taylorseer": _taylorseer,
        "diffusers:taylorseer-lite": _taylorseer_lite,
        "diffusers:pab": _pab,
    }
    for model in twin.models:
        enable: Any = model.enable_cache
        enable(makers[peer](twin, knobs, plan))


def _fbcache(twin: Twin, knobs: dict[str, Any], plan: Plan) -> Any:
    from diffusers import FirstBlockCacheConfig

    return FirstBlockCacheConfig(threshold=knobs["threshold"])


def _magcache(twin: Twin, knobs: dict[str, Any], plan: Plan) -> Any:
    from diffusers import MagCacheConfig

    return MagCacheConfig(
        threshold=knobs["threshold"],
        max_skip_steps=knobs["max_skips"],
        retention_ratio=knobs["retention"],
        num_inference_steps=plan.steps,
        mag_ratios=_magnitude_ratios(plan),
    )


def _magnitude_ratios(plan: Plan) -> list[float]:
    """Those of `--method magcache`; diffusers' calibration measures what `navicache calibrate` does."""
    from navicache_cli.cache.policies.magcache import MagCache
    from navicache_cli.plan.layers import Layer
    from navicache_cli.plan.method import policy_for
    from navicache_cli.plan.plan import resolve

    policy = policy_for(resolve([Layer("peer", {"model": plan.model, "method": "magcache"})]))
    assert isinstance(policy, MagCache)
    return list(policy.ratios)


def _taylorseer(twin: Twin, knobs: dict[str, Any], plan: Plan) -> Any:
    # Every attention and feed-forward by itself, as the paper has it. Named, as the library's own patterns
    # end in "attn" and match none of Wan's.
    return _taylor_config(knobs, cache_identifiers=[r"blocks\.\d+\.(attn1|attn2|ffn)"])


def _taylorseer_lite(twin: Twin, knobs: dict[str, Any], plan: Plan) -> Any:
    return _taylor_config(knobs, use_lite_mode=True)


def _taylor_config(knobs: dict[str, Any], **where: Any) -> Any:
    import torch
    from diffusers import TaylorSeerCacheConfig

    return TaylorSeerCacheConfig(
        cache_interval=knobs["interval"],
        max_order=knobs["order"],
        disable_cache_before_step=knobs["warmup"],
        taylor_factors_dtype=torch.float32,  # what the model computes in
        **where,
    )


def _pab(twin: Twin, knobs: dict[str, Any], plan: Plan) -> Any:
    from diffusers import PyramidAttentionBroadcastConfig

    window = (knobs["window_low"], knobs["window_high"])
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=knobs["self"],
        cross_attention_block_skip_range=knobs["cross"],
        spatial_attention_timestep_skip_range=window,
        cross_attention_timestep_skip_range=window,
        current_timestep_callback=lambda: twin.timestep,
    )


def _switch_on_dbcache(twin: Twin, knobs: dict[str, Any], plan: Plan) -> None:
    # Read when it is imported; otherwise it writes its log to standard output.
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")
    import cache_dit

    (model,) = twin.models
    blocks: Any = model.blocks
    if knobs["first"] + knobs["last"] > len(blocks):
        raise UsageError(
            f"first and last of dbcache expect at most the model's {len(blocks)} blocks together, "
            f"found {knobs['first']} and {knobs['last']}",
            "first=1 and last=0 leave the most to skip",
        )
    calibrator = None
    if "order" in knobs:
        calibrator = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=knobs["order"])
    cache_dit.enable_cache(
        cache_dit.BlockAdapter(
            transformer=model,
            blocks=blocks,
            forward_pattern=cache_dit.ForwardPattern.Pattern_2,
            has_separate_cfg=plan.guidance != 1,
        ),
        cache_config=cache_dit.DBCacheConfig(
            Fn_compute_blocks=knobs["first"],
            Bn_compute_blocks=knobs["last"],
            residual_diff_threshold=knobs["threshold"],
            max_warmup_steps=knobs["warmup"],
            num_inference_steps=plan.steps,
            enable_separate_cfg=plan.guidance != 1,
        ),
        calibrator_config=calibrator,
    )
