"""The formulas of the metrics: one figure of a clip [frames, H, W, 3] beside another, for `metrics.METRICS`.

PSNR and SSIM are those of VideoSys (eval/pab/common_metrics), which the papers on caching report: values in
[0, 1]; PSNR over all pixels and channels of a frame, at most 100 dB; SSIM by channel over the whole 11 x 11
Gaussian windows. `span` is the distance from the least to the greatest possible value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

IDENTICAL_PSNR = 100.0  # dB, for frames without a difference (VideoSys, calculate_psnr.py)
RADIUS = 5  # of SSIM's 11 x 11 Gaussian window, Wang et al. 2004, Section III-B

_SIGMA = 1.5  # same place
_K1, _K2 = 0.01, 0.03  # same place
# Pixels worked on at a time, so that a large frame needs little memory. Windows are taken over few, which the
# processor's cache holds. A sum over up to 1080p is in one piece, as its rounding depends on the pieces.
_AT_ONCE, _SUMMED_AT_ONCE = 1 << 16, 1 << 21


def frame_psnr(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Peak signal-to-noise ratio in dB of a frame, over all its pixels and channels."""
    (a,), (b,) = a, b
    total = 0.0
    for rows in _bands(a.shape[0], a.shape[1], _SUMMED_AT_ONCE):
        difference = (a[rows].astype(np.float64) - b[rows]) / span
        total += float(np.sum(difference * difference))
    mse = total / a.size
    return IDENTICAL_PSNR if mse < 1e-10 else -10 * math.log10(mse)


def frame_ssim(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Mean SSIM of a frame, by Eq. 13 of Wang et al. 2004 with values divided by the range."""
    (a,), (b,) = a, b
    height, width = a.shape[0] - 2 * RADIUS, a.shape[1] - 2 * RADIUS
    ssim_map = np.empty((height, width))
    means = []
    for channel in range(3):
        for rows in _bands(height, width, _AT_ONCE):
            reach = slice(rows.start, rows.stop + 2 * RADIUS)  # of the windows of these rows
            ssim_map[rows] = _ssim_map(a[reach, :, channel] / span, b[reach, :, channel] / span)
        means.append(float(np.mean(ssim_map)))
    return float(np.mean(means))


def flicker(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Mean absolute change of the error a - b from one frame to the next, in 8-bit grey levels.

    An error that stays is no flicker, however large; a single frame has none.
    """
    if len(a) == 1:
        return 0.0
    total = 0.0
    for rows in _bands(a.shape[1], a.shape[2], _AT_ONCE):
        error = a[:, rows].astype(np.float64) - b[:, rows]
        total += float(np.sum(np.abs(np.diff(error, axis=0))))
    return total / a[1:].size * (255 / span)


def _ssim_map(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM of two [H, W] planes in float64: variances come as small differences of large numbers."""
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    mean_x, mean_y = _blur(x), _blur(y)
    both, power = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - both
    variances = _blur(x * x + y * y) - power
    c1, c2 = _K1**2, _K2**2
    return (2 * both + c1) * (2 * covariance + c2) / ((power + c1) * (variances + c2))


def _blur(plane: np.ndarray) -> np.ndarray:
    """Gaussian means of [H, W] over the windows inside, [H - 10, W - 10]: down the rows, then along them."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    height, width = plane.shape[0] - 2 * RADIUS, plane.shape[1] - 2 * RADIUS
    plane = sum(w * plane[i : i + height] for i, w in enumerate(weights))
    return sum(w * plane[:, i : i + width] for i, w in enumerate(weights))


def _bands(height: int, width: int, pixels: int) -> Iterator[slice]:
    """Cut a frame into bands of rows of at most so many pixels, or of one row."""
    rows = max(1, pixels // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))
