"""How well the estimators foresee the output's change: one step ahead, on measured pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from navicache_cli.plots.accuracy import FIRST_SCORED_STEP, Accuracy
from navicache_cli.plots.one_run import plain_log_ticks
from navicache_cli.plots.theme import Theme, head, legend_above, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_accuracy(found: dict[str, Accuracy], prompts: int, theme: Theme) -> Figure:
    """Draw each predictor's relative error over steps, and below it both errors over all steps."""
    figure = new_figure(6.2)
    panels = figure.subplot_mosaic([["steps", "steps"], ["mae", "relative"]], height_ratios=(1.6, 1))
    _over_steps(panels["steps"], found, theme)
    _bars(panels["mae"], {name: one.mae for name, one in found.items()}, "{:.4f}", theme)
    panels["mae"].set_title("Mean absolute error")
    _bars(panels["relative"], {name: one.relative for name, one in found.items()}, "{:.1%}", theme)
    panels["relative"].set_title("Mean relative error")
    subtitle = (
        f"{prompts} prompts, from step {FIRST_SCORED_STEP} on; "
        "the polynomial is fitted on the other prompts' steps"
    )
    head(figure, "Output change predicted one step ahead", subtitle, theme)
    return figure


def _over_steps(axes: Axes, found: dict[str, Accuracy], theme: Theme) -> None:
    for (name, one), colour in zip(found.items(), theme.lines, strict=False):
        axes.plot(
            list(one.by_step),
            list(one.by_step.values()),
            color=colour,
            linewidth=1.6,
            marker="o",
            markersize=3,
            label=name,
        )
    axes.set_yscale("log")
    plain_log_ticks(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axes.set(title="Relative error at each step", xlabel="step")
    legend_above(axes, len(found))


def _bars(axes: Axes, values: dict[str, float], form: str, theme: Theme) -> None:
    """Horizontal bars, named on the left, with their values at the ends."""
    bars = axes.barh(list(values), list(values.values()), height=0.62, color=theme.lines[: len(values)])
    axes.bar_label(
        bars, [form.format(value) for value in values.values()], padding=4, color=theme.ink, fontsize=9
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(values.values()))
    axes.set_xticks([])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
