"""How each peer is switched on, as its own library documents it, and off again.

The same for a twin and for diffusers' own `WanPipeline`. Both branches of the guidance keep what is their
own: in diffusers by cache contexts, except for its PAB, whose state knows none and which therefore needs a
model for each branch; in cache-dit by `enable_separate_cfg`, which counts the calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from navicache_cli.plan.plan import Plan

APART = ("diffusers:pab",)  # a model for each branch


@contextmanager
def switched_on(models: Sequence[Any], peer: str, knobs: dict[str, Any], plan: Plan) -> Iterator[None]:
    """Switch a peer's cache on, and off at the end.

    Args:
        models: `WanTransformer3DModel`s without a cache, which are called by keywords; for those in `APART`
            one for each branch.
        peer, knobs: see `peers.PEERS`.
        plan: what will be generated.

    Raises:
        UsageError: a knob does not fit the model, or MagCache's ratios are not known.
    """
    if peer == "diffusers:off":
        yield
        return
    switch_on = _dbcache_on if peer.startswith("cache-dit:") else _diffusers_on
    switch_offs: list[Callable[[], object]] = []
    try:
        for model in models:
            switch_offs += switch_on(model, peer, knobs, plan)
        yield
    finally:
        for switch_off in switch_offs:
            switch_off()


def _diffusers_on(model: Any, peer: str, knobs: dict[str, Any], plan: Plan) -> list[Callable[[], object]]:
    clock = _Clock()
    configs: dict[str, Callable[[], Any]] = {
        "diffusers:fbcache": lambda: _fbcache(knobs),
        "diffusers:magcache": lambda: _magcache(knobs, plan),
        "diffusers:seacache": lambda: _seacache(knobs),
        "diffusers:taylorseer": lambda: _taylorseer(knobs),
        "diffusers:taylorseer-lite": lambda: _taylorseer_lite(knobs),
        "diffusers:pab": lambda: _pab(knobs, clock),
    }
    model.enable_cache(configs[peer]())
    handle = model.register_forward_pre_hook(clock.read, with_kwargs=True)
    return [model.disable_cache, handle.remove]


class _Clock:
    """Knows the timestep of the forward that runs."""

    def __init__(self) -> None:
        self.timestep = 0

    def read(self, model: Any, arguments: Any, options: dict[str, Any]) -> None:
        self.timestep = int(options["timestep"].flatten()[0])


def _fbcache(knobs: dict[str, Any]) -> Any:
    from diffusers import FirstBlockCacheConfig

    return FirstBlockCacheConfig(threshold=knobs["threshold"])


def _magcache(knobs: dict[str, Any], plan: Plan) -> Any:
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


def _seacache(knobs: dict[str, Any]) -> Any:
    from diffusers import SeaCacheConfig

    return SeaCacheConfig(
        threshold=knobs["threshold"],
        residual_order=knobs["order"],
        retention_steps=knobs["warmup"],
        cache_end_steps=knobs["end"],
        max_consecutive_cached=knobs["max_skips"],
        raw_vision_callback=_latents,
    )


def _latents(model: Any, arguments: Any, options: dict[str, Any]) -> list[Tensor]:
    """What SeaCache compares of a forward's input: the latents, without the twin's coordinates behind them.

    Where there are none, this is what the library takes by itself.
    """
    return list(options["hidden_states"][:, : model.config.out_channels])


def _taylorseer(knobs: dict[str, Any]) -> Any:
    # Every attention and feed-forward by itself, as the paper has it. Named, as the library's own patterns
    # end in "attn" and match none of Wan's.
    return _taylor_config(knobs, cache_identifiers=[r"blocks\.\d+\.(attn1|attn2|ffn)"])


def _taylorseer_lite(knobs: dict[str, Any]) -> Any:
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


def _pab(knobs: dict[str, Any], clock: _Clock) -> Any:
    from diffusers import PyramidAttentionBroadcastConfig

    window = (knobs["window_low"], knobs["window_high"])
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=knobs["self"],
        cross_attention_block_skip_range=knobs["cross"],
        spatial_attention_timestep_skip_range=window,
        cross_attention_timestep_skip_range=window,
        current_timestep_callback=lambda: clock.timestep,
    )


def _dbcache_on(model: Any, peer: str, knobs: dict[str, Any], plan: Plan) -> list[Callable[[], object]]:
    # Read when it is imported; otherwise it writes its log to standard output.
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")
    import cache_dit

    blocks: Any = model.blocks
    if knobs["first"] + knobs["last"] > len(blocks):
        raise UsageError(
            f"first and last of dbcache expect at most the model's {len(blocks)} blocks together, "
            f"found {knobs['first']} and {knobs['last']}",
            "first=1 and last=0 leave the most to skip",
        )
    calibrators: dict[str, Callable[[], Any]] = {
        "cache-dit:dbcache": lambda: None,
        "cache-dit:dbcache-taylor": lambda: cache_dit.TaylorSeerCalibratorConfig(
            taylorseer_order=knobs["order"]
        ),
        "cache-dit:dbcache-dmd": lambda: cache_dit.DMDCalibratorConfig(dmd_history=knobs["history"]),
        "cache-dit:dbcache-foca": lambda: cache_dit.FoCaCalibratorConfig(),
    }
    adapter = cache_dit.BlockAdapter(
        transformer=model,
        blocks=blocks,
        forward_pattern=cache_dit.ForwardPattern.Pattern_2,
        has_separate_cfg=plan.guidance != 1,
    )
    cache_dit.enable_cache(
        adapter,
        cache_config=cache_dit.DBCacheConfig(
            Fn_compute_blocks=knobs["first"],
            Bn_compute_blocks=knobs["last"],
            residual_diff_threshold=knobs["threshold"],
            max_warmup_steps=knobs["warmup"],
            num_inference_steps=plan.steps,
            enable_separate_cfg=plan.guidance != 1,
        ),
        calibrator_config=calibrators[peer](),
    )
    return [lambda: cache_dit.disable_cache(model)]
