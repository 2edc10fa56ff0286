"""`hunyuan`: HunyuanVideo through its official repository, whose own pipeline and sampler run unchanged."""

from backends.hunyuan.backend import HunyuanBackend

__all__ = ["HunyuanBackend"]
