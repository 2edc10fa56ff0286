"""How close one video is to another of the same prompt and seed, by every metric of the table.

The convention is that of VideoSys (eval/pab/common_metrics), which the papers on caching report: a figure per
frame, then the mean over frames. `navicache metrics` and `generate --baseline` both use this.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Union

import numpy as np
from msgspec import Meta, Struct

from navicache_cli.errors import UsageError
from navicache_cli.media.formulas import RADIUS, frame_psnr, frame_ssim
from navicache_cli.media.metrics import METRICS, Measure

if TYPE_CHECKING:
    from torch import Tensor

_FROM_FILES = "read videos by navicache_cli.media.video_in, or see `navicache metrics --help`"
Video = Union[np.ndarray, "Tensor"]  # or a frame of one
Models = Mapping[str, Measure]  # of the metrics that need a model of their own, by their keys


class Series(Struct, frozen=True, forbid_unknown_fields=True):
    """One metric: its mean, and each frame's; where a figure is of n frames, the last n - 1 have none."""

    mean: float
    per_frame: Annotated[list[float], Meta(min_length=1)]

    @classmethod
    def of(cls, values: Sequence[float]) -> Series:
        """Return values with their mean."""
        return cls(float(np.mean(values)), list(values))


Fidelity = dict[str, Series | None]  # by the keys of METRICS; None: left out


def measures_with(models: Collection[str]) -> list[str]:
    """Return the keys of the metrics that are computed where the models of these are there."""
    return [key for key, metric in METRICS.items() if metric.measure or key in models]


def compare_videos(
    a: Video, b: Video, data_range: float | None = None, models: Models | None = None
) -> Fidelity:
    """Compare two videos frame by frame.

    Args:
        a: [F, H, W, 3], uint8 or float; tensors are compared on their device, arrays on the CPU.
        b: the same shape, on the same device.
        data_range: distance from the least to the greatest possible value; 255 for uint8 if not given, and
            to be given for floats: 1 for [0, 1], 2 for [-1, 1].
        models: what measures metrics with a model of their own; those without are left out.

    Raises:
        UsageError: shapes differ or are not as above, frames are smaller than SSIM's 11 x 11 window, or the
            range of floats is not given.
    """
    _check(a, b, data_range)
    return compare_frames(zip(a, b, strict=True), data_range, models)


def compare_frames(
    pairs: Iterable[tuple[Video, Video]],
    data_range: float | None = None,
    models: Models | None = None,
) -> Fidelity:
    """Compare two videos given as pairs of frames [H, W, 3], holding no more of them than a metric looks at.

    Args and errors: as `compare_videos`.
    """
    import torch

    models = models or {}
    metrics = [METRICS[key] for key in measures_with(models)]
    found: dict[str, list[float]] = {metric.key: [] for metric in metrics}
    recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=max(metric.frames for metric in metrics))
    span = 0.0

    def measure(key: str, frames: int) -> None:
        videos = zip(*list(recent)[-frames:], strict=True)
        a, b = (torch.stack(one) if frames > 1 else one[0][None] for one in videos)
        found[key].append((METRICS[key].measure or models[key])(a, b, span))

    for x, y in pairs:
        span = _check(x[None], y[None], data_range)
        recent.append((_tensor(x), _tensor(y)))
        for metric in metrics:
            if len(recent) >= metric.frames:
                measure(metric.key, metric.frames)
    for metric in metrics:
        if recent and not found[metric.key]:  # a video shorter than what the metric looks at
            measure(metric.key, len(recent))
    return {key: Series.of(found[key]) if found.get(key) else None for key in METRICS}


def means_of(fidelity: Fidelity) -> dict[str, float]:
    """Return the mean of each metric that was not left out."""
    return {key: series.mean for key, series in fidelity.items() if series is not None}


def psnr(a: Video, b: Video, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, the mean over frames of 10 log10(range^2 / MSE).

    As in VideoSys' calculate_psnr, a frame whose MSE is below 1e-10 of range^2 counts as 100 dB.

    Args and errors: as `compare_videos`, but frames may be of any size.
    """
    return _mean(frame_psnr, a, b, _check(a, b, data_range, smallest=1))


def ssim(a: Video, b: Video, data_range: float | None = None) -> float:
    """Structural similarity (Wang et al. 2004), the mean over pixels, channels and frames.

    Gaussian window of 11 x 11 pixels, sigma 1.5, each channel by itself. Only windows that lie wholly inside
    the frame count, so the map is [H - 10, W - 10]: as in the paper's own program, in VideoSys, and in
    scikit-image with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    Args and errors: as `compare_videos`.
    """
    return _mean(frame_ssim, a, b, _check(a, b, data_range))


def _mean(measure: Measure, a: Video, b: Video, span: float) -> float:
    frames = ((_tensor(x)[None], _tensor(y)[None]) for x, y in zip(a, b, strict=True))
    return float(np.mean([measure(x, y, span) for x, y in frames]))


def _tensor(frame: Video) -> Tensor:
    """A frame as a tensor, which shares the memory of an array that torch can share."""
    import torch

    # Of arrays that run backwards or may not be written, torch takes a copy only.
    return (
        torch.from_numpy(np.require(frame, requirements=["C", "W"]))
        if isinstance(frame, np.ndarray)
        else frame
    )


def _check(a: Video, b: Video, data_range: float | None, smallest: int = 2 * RADIUS + 1) -> float:
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
    dtypes = [str(one.dtype).removeprefix("torch.") for one in (a, b)]
    if data_range is None and dtypes != ["uint8", "uint8"]:
        raise UsageError(
            f"expected uint8 frames, or a data_range; found {' and '.join(dtypes)} without one",
            "data_range=1.0 for values in [0, 1], 2.0 for [-1, 1]",
        )
    span = 255.0 if data_range is None else float(data_range)
    if not (span > 0 and math.isfinite(span)):
        raise UsageError(
            f"expected a positive data_range; found {data_range}", "data_range=1.0 for values in [0, 1]"
        )
    return span
