"""`tiny`: a trained miniature of Wan2.1 text-to-video that ships with navicache and runs on a CPU."""

from backends.tiny.backend import TinyBackend

__all__ = ["TinyBackend"]
