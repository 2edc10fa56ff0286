"""Lets official code import packages that its text-to-video path never needs, where they are not installed.

Open-Sora and VideoSys import ColossalAI (for training and for several GPUs) and xformers (replaced by
`cross_attention`) at the top of their modules. Both are large, compiled, and tied to old versions of PyTorch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from math import prod
from types import ModuleType
from typing import Any

import torch.distributed as dist

from navicache_cli.errors import BackendError

OPTIONAL = ("colossalai", "xformers")


@contextmanager
def placeholders() -> Iterator[None]:
    """Inside the `with` block, import each package of `OPTIONAL` that is not installed as a placeholder.

    Afterwards the packages are absent again, and only the modules imported meanwhile hold the placeholders.
    """
    absent = [name for name in OPTIONAL if name not in sys.modules and find_spec(name) is None]
    finder = _Finder(absent)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in absent]:
            del sys.modules[name]


class _Finder(MetaPathFinder, Loader):
    """Finds and makes the placeholders."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        known = fullname.partition(".")[0] in self.names
        return ModuleSpec(fullname, self, is_package=True) if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Placeholder(ModuleType):
    """A module in which every name is a class that cannot be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "ProcessGroupMesh":
            return OneProcessMesh
        return type(name, (_Missing,), {"__module__": self.__name__})


class _Missing:
    """Raises when it is made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        kind = type(self)
        package = kind.__module__.partition(".")[0]
        raise BackendError(
            f"expected {kind.__module__}.{kind.__name__}, which is not installed", f"pip install {package}"
        )


class OneProcessMesh:
    """In the place of ColossalAI's ProcessGroupMesh for one process: every group is the whole world.

    Args:
        sizes: processes along each axis.

    Raises:
        BackendError: there are several processes.
    """

    def __init__(self, *sizes: int) -> None:
        if prod(sizes) != 1:
            raise BackendError(
                f"expected one process, found a mesh of {sizes}, which needs ColossalAI",
                "pip install colossalai",
            )

    def get_group_along_axis(self, axis: int) -> Any:
        """Return the group of all processes."""
        return dist.group.WORLD
