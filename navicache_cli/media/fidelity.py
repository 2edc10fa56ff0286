"""How close one video is to another of the same prompt and seed: PSNR and SSIM, averaged over frames.

The convention is that of VideoSys (eval/pab/common_metrics), which the papers on caching report: values in
[0, 1]; PSNR over all pixels and channels of a frame, at most 100 dB; SSIM by channel over the whole 11 x 11
Gaussian windows; a figure a frame, then the mean over frames. `navicache metrics` and `generate --baseline`
both use this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from navicache_cli.errors import UsageError

IDENTICAL_PSNR = 100.0  # dB, for frames without a difference (VideoSys, calculate_psnr.py)

_RADIUS, _SIGMA = 5, 1.5  # an 11 x 11 Gaussian window, Wang et al. 2004, Section III-B
_K1, _K2 = 0.01, 0.03  # same place
# Pixels worked on at a time, so that a large frame needs little memory. Windows are taken over few, which the
# processor's cache holds. A sum over up to 1080p is in one piece, as its rounding depends on the pieces.
_AT_ONCE, _SUMMED_AT_ONCE = 1 << 16, 1 << 21
_FROM_FILES = "read videos by navicache_cli.media.video_in, or see `navicache metrics --help`"


@dataclass(frozen=True)
class VideoFidelity:
    """PSNR in dB and SSIM in [-1, 1]: means over frames, and each frame's."""

    psnr: float
    ssim: float
    psnr_per_frame: tuple[float, ...]
    ssim_per_frame: tuple[float, ...]


def compare_videos(a: np.ndarray, b: np.ndarray, data_range: float | None = None) -> VideoFidelity:
    """Compare two videos frame by frame.

    Args:
        a: [F, H, W, 3], uint8 or float.
        b: the same shape.
        data_range: distance from the least to the greatest possible value; 255 for uint8 if not given, and
            to be given for floats: 1 for [0, 1], 2 for [-1, 1].

    Raises:
        UsageError: shapes differ or are not as above, frames are smaller than SSIM's 11 x 11 window, or the
            range of floats is not given.
    """
    span = _check(a, b, data_range)
    psnrs = tuple(_frame_psnr(x, y, span) for x, y in zip(a, b, strict=True))
    ssims = tuple(_frame_ssim(x, y, span) for x, y in zip(a, b, strict=True))
    return VideoFidelity(float(np.mean(psnrs)), float(np.mean(ssims)), psnrs, ssims)


def psnr(a: np.ndarray, b: np.ndarray, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, the mean over frames of 10 log10(range^2 / MSE).

    As in VideoSys' calculate_psnr, a frame whose MSE is below 1e-10 of range^2 counts as 100 dB.

    Args and errors: as `compare_videos`, but frames may be of any size.
    """
    span = _check(a, b, data_range, smallest=1)
    return float(np.mean([_frame_psnr(x, y, span) for x, y in zip(a, b, strict=True)]))


def ssim(a: np.ndarray, b: np.ndarray, data_range: float | None = None) -> float:
    """Structural similarity (Wang et al. 2004), the mean over pixels, channels and frames.

    Gaussian window of 11 x 11 pixels, sigma 1.5, each channel by itself. Only windows that lie wholly inside
    the frame count, so the map is [H - 10, W - 10]: as in the paper's own program, in VideoSys, and in
    scikit-image with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    Args and errors: as `compare_videos`.
    """
    span = _check(a, b, data_range)
    return float(np.mean([_frame_ssim(x, y, span) for x, y in zip(a, b, strict=True)]))


def _check(a: np.ndarray, b: np.ndarray, data_range: float | None, smallest: int = 2 * _RADIUS + 1) -> float:
    if a.shape != b.shape:
        raise UsageError(
            f"expected two videos of one shape; found {list(a.shape)} and {list(b.shape)}",
            "generate both with the same --size and --frames",
        )
    if a.ndim != 4 or a.shape[3] != 3 or 0 in a.shape:
        raise UsageError(
            f"expected frames of shape [frames, height, width, 3]; found {list(a.shape)}", _FROM_FILES
        )
    if min(a.shape[1:3]) < smallest:
        raise UsageError(
            f"expected frames of at least {smallest}x{smallest}; found {a.shape[2]}x{a.shape[1]}",
            "compare larger videos: SSIM looks through windows of that size",
        )
    if data_range is None and (a.dtype != np.uint8 or b.dtype != np.uint8):
        raise UsageError(
            f"expected uint8 frames, or a data_range; found {a.dtype} and {b.dtype} without one",
            "data_range=1.0 for values in [0, 1], 2.0 for [-1, 1]",
        )
    span = 255.0 if data_range is None else float(data_range)
    if not (span > 0 and math.isfinite(span)):
        raise UsageError(
            f"expected a positive data_range; found {data_range}", "data_range=1.0 for values in [0, 1]"
        )
    return span


def _bands(height: int, width: int, pixels: int) -> Iterator[slice]:
    """Cut a frame into bands of rows of at most so many pixels, or of one row."""
    rows = max(1, pixels // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _frame_psnr(a: np.ndarray, b: np.ndarray, span: float) -> float:
    total = 0.0
    for rows in _bands(a.shape[0], a.shape[1], _SUMMED_AT_ONCE):
        difference = (a[rows].astype(np.float64) - b[rows]) / span
        total += float(np.sum(difference * difference))
    mse = total / a.size
    return IDENTICAL_PSNR if mse < 1e-10 else -10 * math.log10(mse)


def _frame_ssim(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Mean SSIM of two [H, W, 3] frames, by Eq. 13 of the paper with values divided by the range."""
    height, width = a.shape[0] - 2 * _RADIUS, a.shape[1] - 2 * _RADIUS
    ssim_map = np.empty((height, width))
    means = []
    for channel in range(3):
        for rows in _bands(height, width, _AT_ONCE):
            reach = slice(rows.start, rows.stop + 2 * _RADIUS)  # of the windows of these rows
            ssim_map[rows] = _ssim_map(a[reach, :, channel] / span, b[reach, :, channel] / span)
        means.append(float(np.mean(ssim_map)))
    return float(np.mean(means))


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
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    height, width = plane.shape[0] - 2 * _RADIUS, plane.shape[1] - 2 * _RADIUS
    plane = sum(w * plane[i : i + height] for i, w in enumerate(weights))
    return sum(w * plane[:, i : i + width] for i, w in enumerate(weights))
