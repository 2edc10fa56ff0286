"""One generation: which steps ran, the error against its threshold, the ratio, surprises, error bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from navicache_cli.plots.theme import Theme, head, legend_above, new_figure, plain, step_axis
from navicache_cli.plots.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 0.86  # of a step's width: the rest is the gap to the next
_LINTHRESH = 0.1  # of the ratio's units: innovations are drawn linear within, logarithmic beyond


def draw_run(trace: Trace, theme: Theme) -> Figure:
    """Draw one report; panels its method has no numbers for are left out."""
    panels = [(0.42, _strip)]
    if np.isfinite(trace.error).any() and trace.threshold is not None:
        panels.append((1.5, _error))
    if np.isfinite(trace.ratio).any():
        panels.append((1.7, _ratio))
    if np.isfinite(trace.innovation).any():
        panels.append((1.2, _innovation))
    if trace.trend is not None:
        panels.append((1.2, _trend))
    if trace.error_bar is not None and trace.error_bar[1] > 0:
        panels.append((1.2, _predicted_error))
    heights = [height for height, _ in panels]
    figure = new_figure(1.05 + 1.25 * sum(heights) + 0.35 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (_, draw) in zip(axes, panels, strict=True):
        draw(panel, trace, theme)
    step_axis(axes[-1], len(trace.computed))
    head(figure, "  ·  ".join(trace.heading) or trace.name, _subtitle(trace), theme)
    return figure


def step_colours(trace: Trace, theme: Theme) -> list[str]:
    """A colour for each step: computed by choice, computed by force, skipped."""
    ran = [theme.forced if forced else theme.computed for forced in trace.forced]
    return [
        colour if computed else theme.skipped for colour, computed in zip(ran, trace.computed, strict=True)
    ]


def step_key(traces: list[Trace], theme: Theme) -> list[Patch]:
    """What the colours of `step_colours` mean, of those that occur."""
    used = {colour for trace in traces for colour in step_colours(trace, theme)}
    key = {"computed": theme.computed, "computed, no choice": theme.forced, "skipped": theme.skipped}
    return [Patch(color=colour, label=label) for label, colour in key.items() if colour in used]


def _subtitle(trace: Trace) -> str:
    steps, skipped = len(trace.computed), int((~trace.computed).sum())
    parts = [f"{skipped} of {steps} steps skipped ({skipped / steps:.0%})"]
    if trace.seed:
        parts.append(f"seed {plain(trace.seed, 24)}")
    if trace.prompt:
        parts.append(f"“{plain(trace.prompt, 72)}”")
    return "  ·  ".join(parts)


def _strip(axes: Axes, trace: Trace, theme: Theme) -> None:
    steps = np.arange(len(trace.computed))
    axes.bar(steps, 1, width=_CELL, color=step_colours(trace, theme))
    axes.set(title="Steps", ylim=(0, 1), yticks=[])
    axes.grid(False)
    axes.tick_params(bottom=False)
    axes.spines["bottom"].set_visible(False)
    key = step_key([trace], theme)
    legend_above(axes, len(key), handles=key)


def _error(axes: Axes, trace: Trace, theme: Theme) -> None:
    steps = np.arange(len(trace.error))
    axes.bar(steps, np.nan_to_num(trace.error), width=_CELL, color=step_colours(trace, theme))
    assert trace.threshold is not None
    top = float(np.nanmax(trace.error))
    line: dict[str, Any] = {"color": theme.limit, "linewidth": 1.4, "linestyle": (0, (5, 2))}
    if trace.on_budget:
        axes.step(steps, trace.thresholds, where="mid", label="threshold, set by the budget", **line)
        top = max(top, float(np.nanmax(trace.thresholds)))
    else:
        axes.axhline(trace.threshold, label=f"threshold {trace.threshold:g}", **line)
        top = max(top, trace.threshold)
    axes.set(title="Accumulated error", ylim=(0, 1.08 * top if top > 0 else 1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend_above(axes, 1)


def _ratio(axes: Axes, trace: Trace, theme: Theme) -> None:
    steps = np.arange(len(trace.ratio))
    shown = np.concatenate([trace.ratio, trace.measured])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    # The limits are the data's: a band from before anything was learnt would dwarf them.
    bottom, top = (shown.min() / 1.8, shown.max() * 1.8) if len(shown) else (0.1, 10)
    if np.isfinite(trace.low).any():
        axes.fill_between(
            steps, np.maximum(trace.low, bottom / 2), trace.high,
            color=theme.computed, alpha=0.20, linewidth=0, label="estimate ± 2σ",
        )  # fmt: skip
    axes.plot(steps, trace.ratio, color=theme.computed, linewidth=1.6, label="estimate")
    axes.plot(
        steps, trace.measured, linestyle="none", marker="o", markersize=4.2,
        markerfacecolor=theme.ink, markeredgecolor=theme.surface, markeredgewidth=0.6, label="measured",
    )  # fmt: skip
    axes.set(title="Feature-change ratio, output over input", yscale="log", ylim=(bottom, top))
    plain_log_ticks(axes)
    legend_above(axes, 3)


def _innovation(axes: Axes, trace: Trace, theme: Theme) -> None:
    steps = np.arange(len(trace.innovation))
    known = np.isfinite(trace.innovation)
    axes.axhline(0, color=theme.muted, linewidth=0.9)
    axes.vlines(steps[known], 0, trace.innovation[known], color=theme.computed, linewidth=1.6)
    axes.plot(steps[known], trace.innovation[known], "o", color=theme.computed, markersize=4)
    largest = float(np.abs(trace.innovation[known]).max())
    axes.set(title="Innovation, measured minus estimated ratio")
    if largest > 5 * _LINTHRESH:
        axes.set_yscale("symlog", linthresh=_LINTHRESH, linscale=0.6)
        top = int(np.ceil(np.log10(largest)))
        ends = [10.0**power for power in range(-1, top + 1, 1 + (top + 1) // 4)]
        axes.set_yticks([*[-end for end in reversed(ends)], 0, *ends])
        axes.set_yticklabels([*[f"−{end:g}" for end in reversed(ends)], "0", *[f"{end:g}" for end in ends]])
        axes.yaxis.minorticks_off()
    axes.set_ylim(-1.4 * largest or -1, 1.4 * largest or 1)


def _trend(axes: Axes, trace: Trace, theme: Theme) -> None:
    """What the calibrated predictor had learnt before each step, ± 2σ where that is known."""
    assert trace.trend is not None
    steps, (value, deviation) = np.arange(len(trace.computed)), trace.trend
    axes.fill_between(
        steps, value - 2 * deviation, value + 2 * deviation, color=theme.lines[0], alpha=0.2, linewidth=0
    )
    axes.plot(steps, value, color=theme.lines[0], linewidth=1.6)
    axes.axhline(0, color=theme.muted, linewidth=0.9)
    axes.set(title="Share of the outputs' trend that is followed, ± 2σ")
    axes.set_ylim(-0.25, 1.75)


def _predicted_error(axes: Axes, trace: Trace, theme: Theme) -> None:
    """How far off the final latents were predicted to be, at each step; at the last one with the band."""
    steps = np.arange(len(trace.predicted_error))
    assert trace.error_bar is not None
    low, error, high = (100 * value for value in trace.error_bar)
    axes.step(
        steps,
        100 * trace.predicted_error,
        where="mid",
        color=theme.computed,
        linewidth=1.6,
        label="predicted",
    )
    axes.errorbar(
        steps[-1], error, [[error - low], [high - error]],
        color=theme.ink, marker="o", markersize=4.2, capsize=3, linewidth=1.2,
        label="in the end, with its band",
    )  # fmt: skip
    top = high
    if trace.max_error is not None:
        bound = 100 * trace.max_error
        dashed: dict[str, Any] = {"color": theme.limit, "linewidth": 1.4, "linestyle": (0, (5, 2))}
        axes.axhline(bound, label=f"bound {bound:g}%", **dashed)
        top = max(top, min(bound, 3 * high))
    axes.set(title="Predicted error of the final latents, %", ylim=(0, 1.08 * top))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend_above(axes, 3)


def plain_log_ticks(axes: Axes) -> None:
    """Label a logarithmic axis 0.5, 1, 2, 5 …: there is no mathematical text here to write powers with."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
