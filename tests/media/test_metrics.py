from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from navicache_cli.errors import UsageError
from navicache_cli.media.fidelity import compare_frames, compare_videos, psnr, ssim
from navicache_cli.media.formulas import IDENTICAL_PSNR
from navicache_cli.media.metrics import FROM_FRAMES, LEADING, METRICS
from navicache_cli.report.schemas import read_schema


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
        assert ours["psnr"].per_frame[i] == pytest.approx(
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
        assert ours["ssim"].per_frame[i] == pytest.approx(reference, abs=1e-9)


def test_means_over_frames() -> None:
    a, b = textured(), changed(textured(), 20)
    b[0] = a[0]
    found = compare_videos(a, b)
    assert found["psnr"].per_frame[0] == IDENTICAL_PSNR == 100.0
    assert found["ssim"].per_frame[0] == pytest.approx(1, abs=1e-12)
    assert found["psnr"].mean == pytest.approx(sum(found["psnr"].per_frame) / 3) == psnr(a, b)
    assert found["ssim"].mean == pytest.approx(sum(found["ssim"].per_frame) / 3) == ssim(a, b)
    assert len(found["psnr"].per_frame) == len(found["ssim"].per_frame) == 3


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
    assert there["psnr"].mean == pytest.approx(back["psnr"].mean)
    assert there["ssim"].mean == pytest.approx(back["ssim"].mean, abs=1e-12)
    assert 0 <= there["psnr"].mean <= 100
    assert -1 <= there["ssim"].mean <= 1 + 1e-12


def test_more_noise_is_worse() -> None:
    a = textured()
    found = [compare_videos(a, changed(a, amount)) for amount in (1, 5, 20, 60)]
    for key, metric in FROM_FRAMES.items():
        means = [one[key].mean for one in found]
        assert means == sorted(means, key=metric.rank, reverse=True), key


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


def test_tensors_have_the_figures_of_arrays() -> None:
    a, b = textured(), changed(textured(), 20)
    expected = compare_videos(a, b)
    assert compare_videos(torch.from_numpy(a), torch.from_numpy(b)) == expected
    for kind in (torch.float32, torch.float64):
        x, y = (torch.from_numpy(video).to(kind) / 255 for video in (a, b))
        assert compare_videos(x, y, 1.0) == compare_videos(x.numpy(), y.numpy(), 1.0)
        with pytest.raises(UsageError, match=f"found {str(kind)[6:]} and uint8 without one"):
            compare_videos(x, torch.from_numpy(b))


def test_arrays_that_torch_cannot_share() -> None:
    a, b = textured(), changed(textured(), 20)
    expected = compare_videos(a[:, ::-1].copy(), b[:, ::-1].copy())
    locked = b[:, ::-1].copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare_videos(a[:, ::-1], locked) == expected


@pytest.mark.parametrize("side", [5, 40])
def test_figures_do_not_depend_on_the_pieces(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = textured(), changed(textured(), 20)
    expected = compare_videos(a, b)
    monkeypatch.setattr("navicache_cli.media.formulas._SIDE_ON_CPU", side)
    found = compare_videos(a, b)
    for key in FROM_FRAMES:
        assert found[key].per_frame == pytest.approx(expected[key].per_frame, rel=1e-12), key


LARGE = """
import resource
import numpy as np
from navicache_cli.media.fidelity import compare_videos
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compare_videos(*np.zeros((2, 1, 256, 256, 3), np.uint8))  # what is loaded at the first call
a, b = (np.full((1, 4096, 4096, 3), value, np.uint8) for value in (0, 255))
before = peak()
print(compare_videos(a, b)["ssim"].mean, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where ru_maxrss is in KiB")
def test_large_frames_need_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    ssim_mean, kib = map(float, done.stdout.split())
    assert ssim_mean == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-9)
    assert kib < 64 * 1024, "one channel in float64 alone would be 128 MiB"


def parts_with_metrics() -> dict[str, tuple[dict, list[str]]]:
    """Each part of a document that has figures by metric: its schema and the metrics it has."""
    report, compare, batch, common = map(read_schema, ("report", "compare", "batch_report", "common_metrics"))
    parts = {
        "report": (report, report["$defs"]["Baseline"], FROM_FRAMES),
        "setting": (compare, compare["$defs"]["SettingResult"], METRICS),
        "cell": (compare, compare["$defs"]["CellResult"], METRICS),
        "batch": (batch, batch["$defs"]["SettingSummary"], FROM_FRAMES),
        "video": (batch, batch["$defs"]["Video"], FROM_FRAMES),
        "common": (common, common, METRICS),
        "file": (common, common["properties"]["files"]["additionalProperties"], METRICS),
        "worst": (common, common["properties"]["worst"], METRICS),
    }
    return {
        name: ({"$defs": whole["$defs"], **part}, list(keys)) for name, (whole, part, keys) in parts.items()
    }


@pytest.mark.parametrize("name", parts_with_metrics())
def test_schemas_check_every_metric_of_the_table(name: str) -> None:
    schema, keys = parts_with_metrics()[name]
    validator = Draft202012Validator(schema)
    for key in keys:
        wrong = [error.json_path for error in validator.iter_errors({key: "30"})]
        assert f"$.{key}" in wrong, "a figure is no text"
    errors = validator.iter_errors(dict.fromkeys(keys, 30.0 if name == "report" else None))
    assert {error.validator for error in errors} <= {"required"}, "only other keys are missing"


def test_the_leading_metric_needs_no_model() -> None:
    assert LEADING in FROM_FRAMES.values()


@pytest.mark.parametrize("span", [None, 1.0, 2.0])
def test_flicker_by_its_formula(span: float | None) -> None:
    a, b = textured(), changed(textured(), 20)
    # mean |e_{f+1} - e_f| over frames, pixels and channels, e = a - b
    changes = np.abs(np.diff(a.astype(float) - b.astype(float), axis=0)).mean(axis=(1, 2, 3))
    if span is not None:
        a, b = (video / 255 * span for video in (a, b))
    found = compare_videos(a, b, span)["flicker"]
    assert found.per_frame == pytest.approx(list(changes), rel=1e-9)
    assert found.mean == pytest.approx(changes.mean(), rel=1e-9)
    assert 5 < found.mean < 60


def test_flicker_of_errors_that_stay_and_of_a_single_frame() -> None:
    a, b = textured(), changed(textured(), 20)
    stays = np.repeat(a[:1], 4, axis=0), np.repeat(b[:1], 4, axis=0)
    assert compare_videos(*stays)["flicker"].per_frame == [0.0] * 3
    assert compare_videos(a[:1], b[:1])["flicker"].per_frame == [0.0]
    black, white = extremes()
    blinking = np.concatenate([black, white, black])
    dark = np.zeros_like(blinking)
    assert compare_videos(dark, blinking)["flicker"].per_frame == [255.0, 255.0]
    assert compare_frames(zip(dark, blinking, strict=True))["flicker"].mean == 255


def test_flicker_of_a_large_frame_in_bands() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (2, 300, 500, 3), np.uint8) for _ in "ab")
    expected = np.abs(np.diff(a.astype(int) - b.astype(int), axis=0)).mean()
    assert compare_videos(a, b)["flicker"].mean == pytest.approx(expected, rel=1e-12)
