"""Any text- or image-to-video pipeline of diffusers, from a folder that it saved or from the hub."""

from backends.diffusers.backend import DiffusersBackend

__all__ = ["DiffusersBackend"]
