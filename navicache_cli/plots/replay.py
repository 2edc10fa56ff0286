"""What settings would have decided on recorded generations: compute ratio over threshold, a line a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from ..errors import UsageError
from ..replays import Outcome
from .theme import Theme, head, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_replay(outcomes: Sequence[Outcome], title: str, theme: Theme) -> Figure:
    """Draw each line's mean over the recordings; shaded from the least to the most where there are several.

    Args:
        outcomes: those of a line in the order of their thresholds.
        title: what was replayed.
        theme: colours.

    Raises:
        UsageError: there are more lines than colours.
    """
    lines: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        lines.setdefault(outcome.setting.line, []).append(outcome)
    if len(lines) > len(theme.lines):
        raise UsageError(
            f"expected at most {len(theme.lines)} methods and estimators; found {len(lines)}",
            "draw fewer at a time",
        )
    figure = new_figure(5.2)
    axes = figure.subplots()
    for (label, members), colour in zip(lines.items(), theme.lines, strict=False):
        thresholds = [outcome.setting.threshold for outcome in members]
        ratios = np.array([outcome.compute_ratios for outcome in members])
        if ratios.shape[1] > 1:
            axes.fill_between(thresholds, ratios.min(1), ratios.max(1), color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            thresholds, ratios.mean(1), color=colour, linewidth=1.8, marker="o", markersize=4, label=label
        )
    axes.set(title="Compute ratio", xlabel="threshold", ylim=(0, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    setting, runs = outcomes[0].setting, outcomes[0].runs
    count = f"{len(runs)} recordings of" if len(runs) > 1 else "one recording of"
    subtitle = f"{count} {len(runs[0])} steps, the first {setting.align_steps} and the last always computed"
    shaded = "; shaded: least to most" if len(runs) > 1 else ""
    head(figure, title, subtitle + shaded, theme)
    return figure
