"""NaviCache: training-free caching for video diffusion models."""

__version__ = "0.1.0"
