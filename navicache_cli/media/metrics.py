"""The table of metrics: what each is called, which way is better, how it is computed and shown.

Documents, CSV, tables and pages loop over it. A new metric is a formula in `formulas.py` and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navicache_cli.media.formulas import flicker, frame_psnr, frame_ssim

if TYPE_CHECKING:
    from torch import Tensor

# Of two clips [frames, H, W, 3], and the distance from the least to the greatest possible value.
Measure = Callable[["Tensor", "Tensor", float], float]


@dataclass(frozen=True)
class Metric:
    """One figure of how close a video is to another.

    Attributes:
        key: in documents, CSV and pages.
        label: in headings and lines.
        digits: behind the point.
        measure: computes it; None where a model of its own does, which only `compare`, `metrics` and
            `eval common` load, see `fidelity.Models`.
        unit: what its values are in, or "".
        less_is_better: which way is better.
        frames: consecutive frames that one figure is of; a shorter video has one figure, of all its frames.
        brief: whether the terminal's tables and lines that have no room for all metrics show it.
    """

    key: str
    label: str
    digits: int
    measure: Measure | None
    unit: str = ""
    less_is_better: bool = False
    frames: int = 1
    brief: bool = True

    @property
    def heading(self) -> str:
        """Its label and unit, for tables."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float | None) -> str:
        """A value as tables have it, without the unit."""
        return "-" if value is None else f"{value:.{self.digits}f}"

    def say(self, value: float) -> str:
        """A value as lines of text have it: label, value and unit."""
        return f"{self.label} {self.show(value)} {self.unit}".rstrip()

    def rank(self, value: float) -> float:
        """A number by which values are sorted from the worst to the best."""
        return -value if self.less_is_better else value

    def worst(self, values: Iterable[float]) -> float:
        """The worst of several values."""
        return min(values, key=self.rank)


METRICS = {
    metric.key: metric
    for metric in (
        Metric("psnr", "PSNR", 2, frame_psnr, unit="dB"),
        Metric("ssim", "SSIM", 4, frame_ssim),
        Metric("lpips", "LPIPS", 4, None, less_is_better=True),
        Metric("flicker", "Flicker", 3, flicker, unit="levels", less_is_better=True, frames=2, brief=False),
    )
}
LEADING = METRICS["psnr"]  # by which videos are ranked
FROM_FRAMES = {key: metric for key, metric in METRICS.items() if metric.measure}  # without a model


def page_metrics() -> dict[str, dict[str, Any]]:
    """Return the table as the scripts of pages take it."""
    columns = ("label", "unit", "digits", "less_is_better")
    return {key: {name: getattr(metric, name) for name in columns} for key, metric in METRICS.items()}
