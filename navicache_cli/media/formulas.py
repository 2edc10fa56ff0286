"""The formulas of the metrics: one figure of a clip [frames, H, W, 3] beside another, for `metrics.METRICS`.

PSNR and SSIM are those of VideoSys (eval/pab/common_metrics), which the papers on caching report: values in
[0, 1]; PSNR over all pixels and channels of a frame, at most 100 dB; SSIM by channel over the whole 11 x 11
Gaussian windows. `span` is the distance from the least to the greatest possible value. Everything is computed
in float64, on the device of the frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IDENTICAL_PSNR = 100.0  # dB, for frames without a difference (VideoSys, calculate_psnr.py)
RADIUS = 5  # of SSIM's 11 x 11 Gaussian window, Wang et al. 2004, Section III-B

_SIGMA = 1.5  # same place
_K1, _K2 = 0.01, 0.03  # same place
# Frames are worked on in squares of so many pixels a side, so that a large one needs little memory. On a CPU
# the maps of SSIM then fit its cache and have under 32768 values, from which on torch would share each small
# sum among threads that wait for one another. Elsewhere they keep the device busy.
_SIDE_ON_CPU, _SIDE_ELSEWHERE = 94, 1024


def frame_psnr(a: Tensor, b: Tensor, span: float) -> float:
    """Peak signal-to-noise ratio in dB of a frame, over all its pixels and channels."""
    (a,), (b,) = a, b
    total = sum(((a[at].double() - b[at]) / span).square().sum() for at in _tiles(a))
    mse = float(total) / a.numel()
    return IDENTICAL_PSNR if mse < 1e-10 else -10 * math.log10(mse)


def frame_ssim(a: Tensor, b: Tensor, span: float) -> float:
    """Mean SSIM of a frame, by Eq. 13 of Wang et al. 2004 with values divided by the range."""
    (a,), (b,) = a, b
    windows = a[2 * RADIUS :, 2 * RADIUS :]  # as many as there are pixels here
    reach = [tuple(slice(one.start, one.stop + 2 * RADIUS) for one in at) for at in _tiles(windows)]
    total = sum(_ssim_map(a[at].double() / span, b[at].double() / span).sum() for at in reach)
    return float(total) / windows.numel()


def flicker(a: Tensor, b: Tensor, span: float) -> float:
    """Mean absolute change of the error a - b from one frame to the next, in 8-bit grey levels.

    An error that stays is no flicker, however large; a single frame has none.
    """
    if len(a) == 1:
        return 0.0
    total = 0.0
    for y, x in _tiles(a[0]):
        before, after = (a[f, y, x].double() - b[f, y, x] for f in (slice(None, -1), slice(1, None)))
        total += float((after - before).abs().sum())
    return total / a[1:].numel() * (255 / span)


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of two [H, W, 3] in float64: variances come as small differences of large numbers."""
    from einops import rearrange

    x, y = (rearrange(one, "h w c -> c h w").contiguous() for one in (x, y))
    mean_x, mean_y, mean_xy, power = map(_blur, (x, y, x * y, x * x + y * y))
    both, means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = mean_xy - both, power - means
    c1, c2 = _K1**2, _K2**2
    return (2 * both + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))


def _blur(plane: Tensor) -> Tensor:
    """Gaussian means of [3, H, W] over the windows inside, [3, H - 10, W - 10].

    The window is separable: a convolution down the rows, then one along them, each a weighted sum of shifted
    planes. In float64 on a CPU that takes half the time of torch's conv2d, which copies each pixel 11 times.
    """
    weights = [math.exp(-0.5 * (i / _SIGMA) ** 2) for i in range(-RADIUS, RADIUS + 1)]
    for dim in (-2, -1):
        size = plane.shape[dim] - 2 * RADIUS
        first, *others = (plane.narrow(dim, i, size) for i in range(len(weights)))
        means = first * (weights[0] / sum(weights))
        for weight, shifted in zip(weights[1:], others, strict=True):
            means.add_(shifted, alpha=weight / sum(weights))
        plane = means
    return plane


def _tiles(frame: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut a frame [H, W, 3] into squares of at most so many pixels a side: their rows and columns."""
    side = _SIDE_ON_CPU if frame.device.type == "cpu" else _SIDE_ELSEWHERE
    rows, columns = (
        [slice(start, min(start + side, size)) for start in range(0, size, side)] for size in frame.shape[:2]
    )
    return product(rows, columns)
