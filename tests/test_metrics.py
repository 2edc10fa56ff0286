from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navicache_cli.errors import UsageError
from navicache_cli.media.fidelity import IDENTICAL_PSNR, compare_videos, psnr, ssim


def textured(seed: int = 0, shape: tuple[int, ...] = (3, 32, 45, 3)) -> np.ndarray:
    """Smooth waves with some noise: structure for SSIM to see."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    waves = 128 + 70 * np.sin(rows / 5)[..., None] * np.cos(columns / 4)[..., None]
    return np.clip(waves + rng.normal(0, 15, shape), 0, 255).astype(np.uint8)


def changed(frames: np.ndarray, amount: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, amount, frames.shape)
    return np.clip(frames * 0.9 + 10 + noise, 0, 255).astype(np.uint8)


def extremes() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (textured(), changed(textured(), 3)),
        (textured(), changed(textured(), 60)),
        (textured(), textured(5)),
        (textured(), 255 - textured()),
        (textured(shape=(1, 11, 11, 3)), changed(textured(shape=(1, 11, 11, 3)), 9)),
        extremes(),
        (extremes()[1], extremes()[1] - 1),
    ],
)
def test_same_as_scikit_image(a: np.ndarray, b: np.ndarray) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="pip install scikit-image")
    ours = compare_videos(a, b)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        assert ours.psnr_per_frame[i] == pytest.approx(
            metrics.peak_signal_noise_ratio(x, y, data_range=255), abs=1e-9
        )
        reference = metrics.structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            data_range=255,
        )
        assert ours.ssim_per_frame[i] == pytest.approx(reference, abs=1e-9)


def test_means_over_frames() -> None:
    a, b = textured(), changed(textured(), 20)
    b[0] = a[0]
    found = compare_videos(a, b)
    assert found.psnr_per_frame[0] == IDENTICAL_PSNR == 100.0
    assert found.ssim_per_frame[0] == pytest.approx(1, abs=1e-12)
    assert found.psnr == pytest.approx(sum(found.psnr_per_frame) / 3) == psnr(a, b)
    assert found.ssim == pytest.approx(sum(found.ssim_per_frame) / 3) == ssim(a, b)
    assert len(found.psnr_per_frame) == len(found.ssim_per_frame) == 3


def test_known_values() -> None:
    black, white = extremes()
    assert psnr(black, white) == 0
    assert psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    # Flat frames: only the luminance term is left.
    c1 = 0.01**2
    assert ssim(black, white) == pytest.approx(c1 / (1 + c1), abs=1e-12)


@pytest.mark.parametrize("span", [1.0, 2.0])
def test_floats_with_a_range(span: float) -> None:
    a, b = textured(), changed(textured(), 10)
    for dtype in (np.float32, np.float64):
        x, y = (a / 255 * span).astype(dtype), (b / 255 * span).astype(dtype)
        assert psnr(x, y, span) == pytest.approx(psnr(a, b), abs=1e-4)
        assert ssim(x, y, span) == pytest.approx(ssim(a, b), abs=1e-5)


def test_nearly_identical_floats_count_as_identical() -> None:
    a = textured() / 255
    assert psnr(a, a + 0.9e-5, 1.0) == IDENTICAL_PSNR
    assert psnr(a, a + 1.1e-5, 1.0) == pytest.approx(-20 * math.log10(1.1e-5))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), amount=st.floats(0, 80))
def test_symmetric_and_bounded(seed: int, amount: float) -> None:
    a = textured(seed, (1, 16, 16, 3))
    b = changed(a, amount, seed)
    there, back = compare_videos(a, b), compare_videos(b, a)
    assert there.psnr == pytest.approx(back.psnr)
    assert there.ssim == pytest.approx(back.ssim, abs=1e-12)
    assert 0 <= there.psnr <= 100
    assert -1 <= there.ssim <= 1 + 1e-12


def test_more_noise_is_worse() -> None:
    a = textured()
    found = [compare_videos(a, changed(a, amount)) for amount in (1, 5, 20, 60)]
    assert [f.psnr for f in found] == sorted((f.psnr for f in found), reverse=True)
    assert [f.ssim for f in found] == sorted((f.ssim for f in found), reverse=True)


@pytest.mark.parametrize("function", [compare_videos, psnr, ssim])
def test_bad_arguments(function: Callable[..., object]) -> None:
    a = textured()
    for x, y, span, message in [
        (a, a[:2], None, r"found \[3, 32, 45, 3\] and \[2, 32, 45, 3\]"),
        (a[..., 0], a[..., 0], None, r"\[frames, height, width, 3\]; found \[3, 32, 45\]"),
        (a[:0], a[:0], None, r"found \[0, 32, 45, 3\]"),
        (a / 255, a / 255, None, "data_range; found float64"),
        (a, a / 255, None, "found uint8 and float64"),
        (a, a, 0, "positive data_range; found 0"),
    ]:
        with pytest.raises(UsageError, match=message):
            function(x, y, span)


def test_frames_smaller_than_the_window() -> None:
    small = textured()[:, :10]
    assert psnr(small, small) == 100
    with pytest.raises(UsageError, match="at least 11x11; found 45x10"):
        ssim(small, small)
