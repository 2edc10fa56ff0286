from .stdit import stdit3
from .text_encoder import t5
from .vae import vae

__all__ = ["stdit3", "t5", "vae"]
