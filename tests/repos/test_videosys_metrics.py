"""VideoSys's own PSNR and SSIM beside ours, on the same frames.

Enabled by NAVICACHE_VIDEOSYS_REPO=<a checkout of NUS-HPC-AI-Lab/VideoSys>; needs opencv-python.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from navicache_cli.media.fidelity import compare_videos
from tests.commands.test_metrics_command import pattern
from tests.repos.checkouts import checkout_of


def official(name: str) -> ModuleType:
    """Import eval/pab/common_metrics/<name>.py of the checkout."""
    repository = checkout_of("NAVICACHE_VIDEOSYS_REPO", "NUS-HPC-AI-Lab/VideoSys")
    pytest.importorskip("cv2", reason="pip install opencv-python-headless")
    path = Path(repository) / "eval/pab/common_metrics" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"videosys_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def videos() -> tuple[np.ndarray, np.ndarray]:
    """Noisy, inverted, identical and nearly identical frames, [4, 36, 48, 3] uint8."""
    a, b = pattern(1, frames=4), pattern(2, frames=4)
    b[1] = 255 - a[1]
    b[2] = a[2]
    b[3] = a[3]
    b[3, 0, 0, 0] ^= 1
    return a, b


def loaded(frames: np.ndarray) -> torch.Tensor:
    """[1, F, 3, H, W] float32 in [0, 1], as its eval.py passes videos on."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 255.0


def test_same_psnr_and_ssim() -> None:
    a, b = videos()
    ours = compare_videos(a, b)
    psnr = official("calculate_psnr").calculate_psnr(loaded(a), loaded(b))["value"]
    ssim = official("calculate_ssim").calculate_ssim(loaded(a), loaded(b))["value"]
    assert ours["psnr"].per_frame == pytest.approx([psnr[i] for i in range(4)], abs=1e-4)
    assert ours["ssim"].per_frame == pytest.approx([ssim[i] for i in range(4)], abs=1e-6)
    assert ours["psnr"].mean == pytest.approx(sum(psnr.values()) / 4, abs=1e-4)
    assert ours["psnr"].per_frame[2] == 100
