from .rf import RFLOW

__all__ = ["RFLOW"]
