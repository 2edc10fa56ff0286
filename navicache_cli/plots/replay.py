"""What settings would have decided on recorded generations: compute ratio over threshold, and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from navicache_cli.errors import UsageError
from navicache_cli.plots.theme import Theme, head, new_figure, step_axis
from navicache_cli.replay.replays import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_replay(outcomes: Sequence[Outcome], title: str, theme: Theme) -> Figure:
    """Draw the mean over the recordings; shaded from the least to the most where there are several.

    One line per method and estimator shows the compute ratio over the threshold. One line per budget, in a
    panel of its own, shows the threshold that it set at each step.

    Args:
        outcomes: those of a line in the order of their thresholds.
        title: what was replayed.
        theme: colours.

    Raises:
        UsageError: there are more lines in a panel than colours.
    """
    by_threshold = [outcome for outcome in outcomes if not outcome.setting.compute]
    by_budget = [outcome for outcome in outcomes if outcome.setting.compute]
    panels = [
        (draw, members) for draw, members in ((_ratios, by_threshold), (_budgets, by_budget)) if members
    ]
    figure = new_figure(1.2 + 4.0 * len(panels))
    for axes, (draw, members) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        draw(axes, members, theme)
        axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    runs = outcomes[0].runs
    aligned = " or ".join(
        f"{count}" for count in sorted({outcome.setting.align_steps for outcome in outcomes})
    )
    count = f"{len(runs)} recordings of" if len(runs) > 1 else "one recording of"
    subtitle = f"{count} {len(runs[0])} steps, the first {aligned} and the last always computed"
    shaded = "; shaded: least to most" if len(runs) > 1 else ""
    head(figure, title, subtitle + shaded, theme)
    return figure


def _ratios(axes: Axes, outcomes: Sequence[Outcome], theme: Theme) -> None:
    lines: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        lines.setdefault(outcome.setting.line, []).append(outcome)
    _check_count(len(lines), "methods and estimators", theme)
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


def _budgets(axes: Axes, outcomes: Sequence[Outcome], theme: Theme) -> None:
    _check_count(len(outcomes), "budgets", theme)
    for outcome, colour in zip(outcomes, theme.lines, strict=False):
        thresholds = np.array(
            [[step.decision.threshold for step in run] for run in outcome.runs], dtype=float
        )
        # Whether a step asks the gate depends on its index alone, or on what is left to spend: some may not.
        asked = np.isfinite(thresholds).any(0)
        steps, known = np.flatnonzero(asked), thresholds[:, asked]
        if len(known) > 1:
            low, high = np.nanmin(known, 0), np.nanmax(known, 0)
            axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        share = sum(outcome.compute_ratios) / len(outcome.compute_ratios)
        label = f"{outcome.setting.line}, budget {outcome.setting.compute:.0%}: {share:.0%} computed"
        axes.plot(steps, np.nanmean(known, 0), color=colour, linewidth=1.6, label=label)
    axes.set(title="Threshold set by the budget")
    axes.set_ylim(bottom=0)
    step_axis(axes, len(outcomes[0].runs[0]))


def _check_count(lines: int, what: str, theme: Theme) -> None:
    if lines > len(theme.lines):
        raise UsageError(f"expected at most {len(theme.lines)} {what}; found {lines}", "draw fewer at a time")
