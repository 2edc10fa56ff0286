"""`wan` and `wan2.2` through their official repositories, whose own pipelines and samplers run unchanged."""

from backends.wan.backend import Wan22Backend, WanBackend

__all__ = ["Wan22Backend", "WanBackend"]
