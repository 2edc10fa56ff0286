"""A torchvision that was built for another torch: what it says, and which one fits."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError, version


def torchvision_hint(error: BaseException) -> str:
    """Return what to type where an import failed by a torchvision that does not fit torch, else "".

    It raises RuntimeError, "operator torchvision::nms does not exist", or ImportError, of a symbol of torch.
    """
    if isinstance(error, ModuleNotFoundError) or "torchvision" not in str(error):
        return ""
    install = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps"
    try:
        release, _, build = version("torch").partition("+")
        major, minor = map(int, release.split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return f"{install} torchvision"
    # Of torch 2.N it is 0.(N + 15): https://github.com/pytorch/vision#installation
    fitting = f"torchvision==0.{minor + 15}.*" if major == 2 else "torchvision"
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"{install} '{fitting}'{index}"
