"""Which transformer of diffusers is which preset's: its published thresholds hold for that one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class _Match(NamedTuple):
    """What tells that a preset's thresholds were published for a transformer."""

    preset: str
    kind: str  # class of diffusers
    config: dict[str, Any]  # values it must have


_MATCHES = (
    _Match("wan", "WanTransformer3DModel", {"num_layers": 30, "num_attention_heads": 12}),
    _Match("wan", "WanTransformer3DModel", {"num_layers": 40, "num_attention_heads": 40}),
    _Match("wan", "WanVACETransformer3DModel", {"num_layers": 30, "num_attention_heads": 12}),
    _Match("wan", "WanVACETransformer3DModel", {"num_layers": 40, "num_attention_heads": 40}),
    _Match(
        "hunyuan",
        "HunyuanVideoTransformer3DModel",
        {"num_layers": 20, "num_single_layers": 40, "num_attention_heads": 24, "image_condition_type": None},
    ),
    _Match("tiny", "WanTransformer3DModel", {"num_layers": 8, "num_attention_heads": 4, "ffn_dim": 768}),
)
PUBLISHED = tuple(dict.fromkeys(match.preset for match in _MATCHES))


def published_preset(kinds: Collection[str], config: Mapping[str, Any]) -> str | None:
    """Return the name of the preset whose modes were published for a transformer; None where there is none.

    Args:
        kinds: names of its class and of those that it derives from.
        config: what it was made with.
    """
    for match in _MATCHES:
        if match.kind in kinds and all(config.get(key) == value for key, value in match.config.items()):
            return match.preset
    return None
