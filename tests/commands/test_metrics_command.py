"""`navicache metrics` on small videos, against the formulas of the VideoSys common metrics written again."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from typer.testing import CliRunner

from navicache_cli.app import app
from navicache_cli.errors import BackendError, NavicacheError, OutputError, UsageError, WeightsError
from navicache_cli.media import lpips as perceptual
from navicache_cli.media.metrics import FROM_FRAMES, METRICS
from navicache_cli.media.video import read_video, write_video


def pattern(seed: int, frames: int = 3, height: int = 36, width: int = 48) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = 128 + 80 * np.sin(rows / 5)[..., None] * np.cos(columns / (3 + seed))[..., None]
    return np.clip(waves + rng.normal(0, 10, (frames, height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders a and b with one.mp4 and two.mp4 each: two.mp4 is the same in both, one.mp4 is not."""
    root = tmp_path_factory.mktemp("videos")
    for folder, seeds in {"a": (1, 3), "b": (2, 3)}.items():
        (root / folder).mkdir()
        write_video(pattern(seeds[0]), root / folder / "one.mp4", 8, {})
        write_video(pattern(seeds[1], frames=2), root / folder / "two.mp4", 8, {})
    write_video(pattern(1, frames=2), root / "short.mp4", 8, {})
    write_video(pattern(1, height=48), root / "tall.mp4", 8, {})
    write_video(pattern(1, height=8), root / "flat.mp4", 8, {})
    (root / "text.mp4").write_text("not a video")
    return root


def run(*arguments: object) -> tuple[str, str]:
    """Standard output and error of `navicache metrics`; an error of ours is raised as it is."""
    done = CliRunner().invoke(app, ["metrics", *map(str, arguments)])
    if isinstance(done.exception, NavicacheError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def document(*arguments: object) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(run(*arguments, "--json")[0], parse_constant=refuse)


def videosys_psnr(x: np.ndarray, y: np.ndarray) -> float:
    """Frames [3, H, W] float32 in [0, 1], as VideoSys loads them: 20 log10(1 / √MSE), 100 below 1e−10."""
    mse = float(np.mean((x - y) ** 2))
    return 100.0 if mse < 1e-10 else 20 * math.log10(1 / math.sqrt(mse))


def videosys_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The same frames: an 11 × 11 window, sigma 1.5, a border of 5 cut off, each channel, their mean."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def mean(plane: np.ndarray) -> np.ndarray:
        return np.einsum("ijkl,kl->ij", sliding_window_view(plane, (11, 11)), window)

    found = []
    for p, q in zip(x.astype(np.float64), y.astype(np.float64), strict=True):
        mean_p, mean_q = mean(p), mean(q)
        var_p, var_q = mean(p * p) - mean_p**2, mean(q * q) - mean_q**2
        covariance = mean(p * q) - mean_p * mean_q
        top = (2 * mean_p * mean_q + 0.01**2) * (2 * covariance + 0.03**2)
        found.append((top / ((mean_p**2 + mean_q**2 + 0.01**2) * (var_p + var_q + 0.03**2))).mean())
    return float(np.mean(found))


def as_videosys_loads(path: Path) -> np.ndarray:
    """[F, 3, H, W] float32 in [0, 1]."""
    return (torch.from_numpy(read_video(path)[0]).permute(0, 3, 1, 2) / 255.0).numpy()


def test_two_files_by_the_formulas_of_videosys(videos: Path) -> None:
    one, other = videos / "a/one.mp4", videos / "b/one.mp4"
    found = document(one, other, "--no-lpips")
    a, b = as_videosys_loads(one), as_videosys_loads(other)
    psnr = [videosys_psnr(x, y) for x, y in zip(a, b, strict=True)]
    ssim = [videosys_ssim(x, y) for x, y in zip(a, b, strict=True)]
    assert found["psnr"]["per_frame"] == pytest.approx(psnr, abs=1e-4)
    assert found["ssim"]["per_frame"] == pytest.approx(ssim, abs=1e-6)
    assert found["psnr"]["mean"] == pytest.approx(sum(psnr) / 3, abs=1e-4)
    assert found["ssim"]["mean"] == pytest.approx(sum(ssim) / 3, abs=1e-6)
    assert found["lpips"] is None
    assert found["notes"] == []
    assert "files" not in found
    assert "VideoSys" in found["convention"]
    assert 5 < found["psnr"]["mean"] < 40


def test_the_same_video_has_the_cap(videos: Path) -> None:
    found = document(videos / "a/one.mp4", videos / "a/one.mp4", "--no-lpips")
    assert found["psnr"] == {"mean": 100.0, "per_frame": [100.0] * 3}
    assert found["ssim"]["mean"] == pytest.approx(1)


def test_folders_are_matched_by_name(videos: Path, tmp_path: Path) -> None:
    found = document(videos / "a", videos / "b", "--no-lpips")
    assert list(found["files"]) == ["one.mp4", "two.mp4"]
    alone = document(videos / "a/one.mp4", videos / "b/one.mp4", "--no-lpips")
    one, two = found["files"]["one.mp4"], found["files"]["two.mp4"]
    assert {key: one[key] for key in METRICS} == {key: alone[key] for key in METRICS}
    assert two["psnr"] == {"mean": 100.0, "per_frame": [100.0] * 2}
    assert found["psnr"]["mean"] == pytest.approx((one["psnr"]["mean"] + 100) / 2)
    # Only one.mp4 has a third frame.
    frames = one["psnr"]["per_frame"]
    expected = [(frames[0] + 100) / 2, (frames[1] + 100) / 2, frames[2]]
    assert found["psnr"]["per_frame"] == pytest.approx(expected)


def test_tables(videos: Path) -> None:
    found = document(videos / "a/one.mp4", videos / "b/one.mp4", "--no-lpips")
    shown, _ = run(videos / "a/one.mp4", videos / "b/one.mp4", "--no-lpips")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0][:4] == ["frame", "PSNR", "(dB)", "SSIM"]
    assert lines[0] == ["frame", *(word for one in FROM_FRAMES.values() for word in one.heading.split())]
    for row, index in ((1, 0), (3, 2)):
        assert lines[row][:3] == [
            str(index),
            f"{found['psnr']['per_frame'][index]:.2f}",
            f"{found['ssim']['per_frame'][index]:.4f}",
        ]
    assert lines[4][:3] == ["mean", f"{found['psnr']['mean']:.2f}", f"{found['ssim']['mean']:.4f}"]
    assert {len(line) for line in lines[1:]} == {1 + len(FROM_FRAMES)}
    shown, _ = run(videos / "a", videos / "b", "--no-lpips")
    assert [line.split()[0] for line in shown.splitlines()] == ["video", "one.mp4", "two.mp4", "mean"]


@pytest.mark.parametrize(
    ("b", "error", "message"),
    [
        (
            "short.mp4",
            UsageError,
            r"short.mp4 to have 3 frames of 48x36 like .*one.mp4; found 2 frames of 48x36",
        ),
        ("tall.mp4", UsageError, "found 3 frames of 48x48"),
        ("text.mp4", OutputError, "cannot read .*text.mp4"),
        ("none.mp4", OutputError, "none.mp4 is not there"),
        ("a", UsageError, "two videos or two folders; found the folder .*a and the file .*one.mp4"),
        ("/dev/zero", OutputError, "cannot read the video /dev/zero: a regular file was expected"),
        ("x" * 300, UsageError, "255 for each name"),
        ("a/one.mp4/two.mp4", OutputError, "two.mp4 is not there"),
    ],
)
def test_pairs_that_do_not_go_together(
    videos: Path, b: str, error: type[NavicacheError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        run(videos / "a/one.mp4", videos / b, "--no-lpips")
    assert "\n" not in caught.value.message
    assert "@ 0x" not in caught.value.message, "an address says nothing to anybody"
    assert caught.value.hint


def test_frames_too_small_name_their_file(videos: Path) -> None:
    told = r"flat\.mp4: expected frames of at least 11x11; found 48x8"
    with pytest.raises(UsageError, match=told) as caught:
        run(videos / "flat.mp4", videos / "flat.mp4", "--no-lpips")
    assert caught.value.hint


def test_a_named_pipe_is_not_waited_for(cli, videos: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    done = cli("metrics", "pipe.mp4", str(videos / "a/one.mp4"), "--no-lpips", timeout=60)
    assert done.returncode == 6
    assert "it is a named pipe" in done.stderr
    assert "try: " in done.stderr


def test_missing_partners(videos: Path, tmp_path: Path) -> None:
    for folder, names in {"a": "vw", "b": "wxyz"}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.mp4").touch()
        (tmp_path / folder / f"{folder}.json").touch()  # reports lie beside videos
    with pytest.raises(UsageError) as caught:
        run(tmp_path / "a", tmp_path / "b", "--no-lpips")
    assert f"{tmp_path}/b has no v.mp4, {tmp_path}/a has no x.mp4" in caught.value.message
    assert caught.value.message.endswith("and 1 more")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"expected videos .*; found none"):
        run(tmp_path / "empty", tmp_path / "empty", "--no-lpips")


def test_exit_codes(cli, videos: Path) -> None:
    for b, code in {"short.mp4": 2, "text.mp4": 6}.items():
        done = cli("metrics", str(videos / "a/one.mp4"), str(videos / b), "--json", "--no-lpips")
        assert done.returncode == code
        assert done.stdout == ""
        assert "error: expected" in done.stderr
        assert "Traceback" not in done.stderr


# LPIPS: left out with a word where it cannot be had, insisted on with --lpips.


def test_without_the_package(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    pair = videos / "a/one.mp4", videos / "b/one.mp4"
    shown, said = run(*pair, "--json")
    found = json.loads(shown)
    assert found["lpips"] is None
    assert "LPIPS is left out" in found["notes"][0]
    assert "pip install 'navicache[metrics]'" in said.replace("\n", " ")
    assert found["psnr"]["mean"] > 0
    with pytest.raises(BackendError, match="expected the package lpips"):
        run(*pair, "--lpips")


def install(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package `lpips` of this source in place, and an empty folder for weights."""
    (folder / "lpips").mkdir()
    (folder / "lpips/__init__.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    # Set first, so that undoing these takes out whatever is imported in between.
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.delitem(sys.modules, "lpips")
    monkeypatch.setenv("TORCH_HOME", str(folder / "home"))


def test_without_its_weights_nothing_is_downloaded(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "raise SystemExit('imported')", monkeypatch)
    found = document(videos / "a/one.mp4", videos / "b/one.mp4")
    assert found["lpips"] is None
    assert str(perceptual.weights_path()) in found["notes"][0]
    assert str(tmp_path) in found["notes"][0]
    assert "--lpips downloads them" in found["notes"][0]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", BackendError, "torchvision::nms"),
        ("def LPIPS(**options): raise OSError('no route to host')", WeightsError, "no route to host"),
    ],
)
def test_a_package_that_does_not_work(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    error: type[NavicacheError],
    message: str,
) -> None:
    install(tmp_path, source, monkeypatch)
    pair = videos / "a/one.mp4", videos / "b/one.mp4"
    with pytest.raises(error, match=message):
        run(*pair, "--lpips")
    perceptual.weights_path().parent.mkdir(parents=True)
    perceptual.weights_path().touch()
    assert message in document(*pair)["notes"][0]


def alexnet_features() -> torch.nn.Sequential:
    """The convolutional part of torchvision's AlexNet (Krizhevsky 2014, arXiv 1404.5997)."""
    layers: list[torch.nn.Module] = [torch.nn.Conv2d(3, 64, 11, 4, 2), torch.nn.ReLU()]
    layers += [torch.nn.MaxPool2d(3, 2), torch.nn.Conv2d(64, 192, 5, padding=2), torch.nn.ReLU()]
    layers += [torch.nn.MaxPool2d(3, 2), torch.nn.Conv2d(192, 384, 3, padding=1), torch.nn.ReLU()]
    layers += [torch.nn.Conv2d(384, 256, 3, padding=1), torch.nn.ReLU()]
    layers += [torch.nn.Conv2d(256, 256, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2)]
    return torch.nn.Sequential(*layers)


@pytest.fixture
def random_alexnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Sequential:
    """Put AlexNet with random weights where `lpips` gets it from torchvision."""
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("the package lpips is not there: pip install lpips")
    torch.manual_seed(0)
    features = alexnet_features()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    perceptual.weights_path().parent.mkdir(parents=True)
    torch.save(features.state_dict(), perceptual.weights_path())

    def alexnet(pretrained: bool) -> types.SimpleNamespace:
        loaded = alexnet_features()
        loaded.load_state_dict(torch.load(perceptual.weights_path(), weights_only=True))
        return types.SimpleNamespace(features=loaded)

    models = types.ModuleType("torchvision.models")
    models.alexnet = alexnet
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    for name, module in {"torchvision": torchvision, "torchvision.models": models}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return features


def lpips_of(features: torch.nn.Sequential, weights: dict[str, torch.Tensor], x, y) -> float:
    """Eq. 1 of arXiv 1801.03924, upsampled by layer as VideoSys asks for; x, y [1, 3, H, W] in [−1, 1]."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y, total = (x - shift) / scale, (y - shift) / scale, 0.0
    for index, layer in enumerate(features[:12]):
        x, y = layer(x), layer(y)
        if index in (1, 4, 7, 9, 11):  # after each ReLU
            unit = [f / (f.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for f in (x, y)]
            weight = weights[f"lin{(1, 4, 7, 9, 11).index(index)}.model.1.weight"]
            distance = ((unit[0] - unit[1]) ** 2 * weight).sum(1, keepdim=True)
            resized = torch.nn.functional.interpolate(distance, SIZE, mode="bilinear", align_corners=False)
            total += float(resized.mean())
    return total


SIZE = (36, 48)


def test_lpips_by_its_formula(videos: Path, random_alexnet: torch.nn.Sequential) -> None:
    pair = videos / "a/one.mp4", videos / "b/one.mp4"
    found = document(*pair)
    import lpips

    weights = torch.load(
        Path(lpips.__file__).with_name("weights") / "v0.1/alex.pth", "cpu", weights_only=True
    )
    a, b = (torch.from_numpy(as_videosys_loads(path)) * 2 - 1 for path in pair)
    with torch.inference_mode():
        expected = [lpips_of(random_alexnet, weights, x[None], y[None]) for x, y in zip(a, b, strict=True)]
    assert found["lpips"]["per_frame"] == pytest.approx(expected, rel=1e-4)
    assert found["lpips"]["mean"] == pytest.approx(sum(expected) / 3, rel=1e-4)
    assert found["notes"] == []
    assert min(expected) > 0
    shown, _ = run(*pair)
    assert shown.split()[:5] == ["frame", "PSNR", "(dB)", "SSIM", "LPIPS"]
    assert document(*pair, "--no-lpips")["lpips"] is None
