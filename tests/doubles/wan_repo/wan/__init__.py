from . import configs, modules
from .image2video import WanI2V
from .text2video import WanT2V

__all__ = ["WanI2V", "WanT2V", "configs", "modules"]
