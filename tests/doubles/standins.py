"""What a machine without a GPU lacks of the packages the official repositories import."""

from __future__ import annotations

import enum
import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import torch


def put_torchvision_in_place() -> None:
    """Let `torchvision` and all below it be imported, unless that is installed; most of its names do nothing.

    After diffusers and transformers, which look for torchvision when imported and would use the real one.
    """
    for name in ("diffusers.models.modeling_utils", "transformers.models.auto.tokenization_auto"):
        importlib.import_module(name)
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    sys.meta_path.append(_Torchvision())
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        importlib.import_module(name)
    sys.modules["torchvision.transforms.functional"].to_tensor = to_tensor


class _Torchvision(MetaPathFinder, Loader):
    def find_spec(self, fullname, path, target=None):
        inside = fullname.partition(".")[0] == "torchvision"
        return ModuleSpec(fullname, self, is_package=True) if inside else None

    def create_module(self, spec):
        return _Names(spec.name)

    def exec_module(self, module):
        pass


# timm makes a table of these when imported.
INTERPOLATION = enum.Enum(
    "InterpolationMode", ["NEAREST", "NEAREST_EXACT", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS"]
)


class _Names(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return INTERPOLATION if name == "InterpolationMode" else type(name, (_Unused,), {})


class _Unused:
    """A class of torchvision that a module names, in an annotation or a table, and does not use."""

    def __init__(self, *_, **__):
        pass


def to_tensor(picture) -> torch.Tensor:
    """As torchvision documents it: [3, H, W] float in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
