"""`wan`: Wan2.1 through its official repository, whose own pipelines and samplers run unchanged."""

from backends.wan.backend import WanBackend

__all__ = ["WanBackend"]
