"""`opensora`: Open-Sora 1.2 through its official repository or VideoSys, whose own samplers run unchanged."""

from backends.opensora.backend import OpenSoraBackend

__all__ = ["OpenSoraBackend"]
