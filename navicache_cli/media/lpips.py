"""LPIPS (Zhang et al. 2018, arXiv 1801.03924) of two videos, through its authors' package `lpips`.

The convention is that of VideoSys (eval/pab/common_metrics/calculate_lpips.py): AlexNet, values in [-1, 1],
and of each frame the mean of the spatial map.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from navicache_cli.errors import BackendError, UsageError, WeightsError, one_line
from navicache_cli.media.fidelity import Models
from navicache_cli.media.metrics import Measure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SMALLEST_SIDE = 31  # pixels: below, AlexNet's second pooling has nothing left to pool
# The AlexNet of torchvision's AlexNet_Weights.IMAGENET1K_V1, under which `lpips` was calibrated.
WEIGHTS_FILE = "alexnet-owt-7be5be79.pth"
WEIGHTS_URL = f"https://download.pytorch.org/models/{WEIGHTS_FILE}"


def weights_path() -> Path:
    """Where torchvision looks for AlexNet's weights: TORCH_HOME, or ~/.cache/torch."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE


def load_lpips(download: bool = False) -> Measure:
    """Load the network and return what measures LPIPS of a frame.

    Args:
        download: fetch AlexNet's weights (233 MiB) if they are not there.

    Raises:
        BackendError: the package `lpips`, or what it needs, is not installed or does not work.
        WeightsError: AlexNet's weights are not there, cannot be fetched or cannot be read.
    """
    if importlib.util.find_spec("lpips") is None:
        raise BackendError(
            "expected the package lpips; found none", "pip install 'navicache[metrics]', then --lpips"
        )
    path = weights_path()
    if not download and not path.is_file():
        raise WeightsError(
            f"expected AlexNet's weights for LPIPS; found no {path}",
            f"--lpips downloads them (233 MiB), or put {WEIGHTS_URL} there",
        )
    try:
        import lpips
    except Exception as error:  # torchvision built for another torch raises RuntimeError, AttributeError …
        raise BackendError(
            f"expected a working package lpips; importing it failed: {one_line(error, 160)}",
            "pip install --upgrade 'navicache[metrics]'; torchvision has to be the one made for your torch",
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips asks torchvision for weights in the former way
            network = lpips.LPIPS(net="alex", spatial=True, verbose=False)
    except Exception as error:  # no network, a full disk, a damaged file
        raise WeightsError(
            f"expected AlexNet's weights for LPIPS; loading {path} failed: {one_line(error, 160)}",
            f"put {WEIGHTS_URL} there",
        ) from None
    return _measure_with(network)


def pick_lpips(wanted: bool | None) -> tuple[Models, list[str]]:
    """Return the model that measures LPIPS, by its metric's key, or nothing and a note that says why.

    Args:
        wanted: True insists and may download its weights, False leaves it out, None takes it if it is there.

    Raises:
        BackendError, WeightsError: LPIPS was insisted on and cannot be computed.
    """
    if wanted is False:
        return {}, []
    try:
        return {"lpips": load_lpips(download=wanted is True)}, []
    except (BackendError, WeightsError) as error:
        if wanted:
            raise
        return {}, [f"LPIPS is left out: {error.message}. To have it: {error.hint}"]


def _measure_with(network: Callable) -> Measure:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device)  # type: ignore[attr-defined]

    def measure(a: Tensor, b: Tensor, span: float) -> float:
        """LPIPS of a frame [1, H, W, 3] beside another, values from 0 to `span`."""
        if min(a.shape[1:3]) < SMALLEST_SIDE:
            raise UsageError(
                f"expected frames of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} for LPIPS; "
                f"found {a.shape[2]}x{a.shape[1]}",
                "--no-lpips leaves it out",
            )
        with torch.inference_mode():
            return float(network(*(_image(one, span, device) for one in (a, b))).mean())

    return measure


def _image(frame: Tensor, span: float, device: torch.device) -> Tensor:
    """A frame [1, H, W, 3] as the network takes it: [1, 3, H, W] float32 in [-1, 1]."""
    from einops import rearrange

    return rearrange(frame.to(device), "1 h w c -> 1 c h w").float() / span * 2 - 1
