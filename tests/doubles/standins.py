"""What a machine without a GPU lacks of the packages the official Wan2.1 imports."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch


def put_torchvision_in_place() -> None:
    """Register a module in torchvision's place, unless that is installed.

    After diffusers and transformers, which look for torchvision when imported and would use the real one.
    """
    for name in ("diffusers.models.modeling_utils", "transformers.models.auto.tokenization_auto"):
        importlib.import_module(name)
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return

    def module(name: str, **names) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(names)
        sys.modules[name] = made
        return made

    functional = module("torchvision.transforms.functional", to_tensor=to_tensor)
    module("torchvision", transforms=module("torchvision.transforms", functional=functional))


def to_tensor(picture) -> torch.Tensor:
    """As torchvision documents it: [3, H, W] float in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
