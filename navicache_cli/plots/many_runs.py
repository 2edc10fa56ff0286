"""Several generations: each one's steps, how often each step was skipped, and what that left to compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import PercentFormatter

from navicache_cli.errors import UsageError
from navicache_cli.plots.one_run import step_colours, step_key
from navicache_cli.plots.theme import Theme, head, legend_above, new_figure, plain, step_axis
from navicache_cli.plots.trace import HEADING, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED_ROWS = 24  # above, a row a report is too thin for a name
Groups = dict[str, list[Trace]]  # by what sets them apart


def draw_runs(traces: Sequence[Trace], theme: Theme) -> Figure:
    """Draw several reports; those of the same settings are one line.

    Raises:
        UsageError: they differ in their number of steps, or in more settings than there are colours.
    """
    _check_steps(traces)
    common, groups = group(traces)
    if len(groups) > len(theme.lines):
        raise UsageError(
            f"expected reports of at most {len(theme.lines)} different settings; found {len(groups)}",
            "plot fewer at a time",
        )
    ordered = [trace for members in groups.values() for trace in members]
    heights = [min(0.3 + 0.2 * len(ordered), 5), *[0.9] * len(groups), 2]
    figure = new_figure(1.2 + 1.1 * sum(heights) + 0.3 * len(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _strips(axes[0], groups, theme)
    for panel, (label, members), colour in zip(axes[1:-1], groups.items(), theme.lines, strict=False):
        _skip_frequency(panel, label, members, colour)
    _compute_ratio(axes[-1], groups, theme)
    steps = len(ordered[0].computed)
    step_axis(axes[-1], steps)
    skipped = np.mean([~trace.computed for trace in ordered])
    title = [shown for key, shown in common.items() if key in HEADING] + [f"{len(ordered)} generations"]
    subtitle = [shown for key, shown in common.items() if key not in HEADING and key != "steps"]
    subtitle.append(f"{skipped:.0%} of {steps} steps skipped on average")
    head(figure, "  ·  ".join(title), "  ·  ".join(subtitle), theme)
    return figure


def group(traces: Sequence[Trace]) -> tuple[dict[str, str], Groups]:
    """Settings all traces share, for the title, and the traces by the settings they do not share."""
    keys = list(dict.fromkeys(key for trace in traces for key in trace.settings))
    varying = [key for key in keys if len({trace.settings.get(key) for trace in traces}) > 1]
    common = {key: _setting(traces[0], key) for key in keys if key not in varying}
    groups: Groups = {}
    for trace in traces:
        label = ", ".join(_setting(trace, key) for key in varying if key in trace.settings)
        groups.setdefault(label or trace.settings.get("method", "all"), []).append(trace)
    return common, groups


def _setting(trace: Trace, key: str) -> str:
    value = plain(trace.settings[key], 32)
    named = {"threshold": "threshold {}", "align_steps": "{} align steps", "steps": "{} steps"}
    return named.get(key, "{}").format(value)


def _check_steps(traces: Sequence[Trace]) -> None:
    first = traces[0]
    for trace in traces:
        if len(trace.computed) != len(first.computed):
            raise UsageError(
                f"expected reports of one number of steps; found {len(first.computed)} ({first.name}) "
                f"and {len(trace.computed)} ({trace.name})",
                "plot them apart",
            )


def _strips(axes: Axes, groups: Groups, theme: Theme) -> None:
    """One row per generation; a line between groups."""
    traces = [trace for members in groups.values() for trace in members]
    colours = [theme.computed, theme.forced, theme.skipped]
    cells = [[colours.index(colour) for colour in step_colours(trace, theme)] for trace in traces]
    steps = len(traces[0].computed)
    axes.pcolormesh(
        np.arange(steps + 1) - 0.5, np.arange(len(traces) + 1) - 0.5, cells, cmap=ListedColormap(colours),
        vmin=-0.5, vmax=2.5, edgecolors=theme.surface, linewidth=0.8 if len(traces) <= _NAMED_ROWS else 0,
    )  # fmt: skip
    ends = np.cumsum([len(members) for members in groups.values()])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color=theme.surface, linewidth=4)
    axes.set(title="Steps, one row per generation", ylim=(len(traces) - 0.5, -0.5))
    if len(traces) <= _NAMED_ROWS:
        axes.set_yticks(range(len(traces)), [_row_name(trace.name) for trace in traces], fontsize=7.5)
    else:
        axes.set_yticks([])
    axes.grid(False)
    axes.tick_params(bottom=False)
    axes.spines["bottom"].set_visible(False)
    key = step_key(traces, theme)
    legend_above(axes, len(key), handles=key)


def _skip_frequency(axes: Axes, label: str, members: list[Trace], colour: str) -> None:
    """At each step, the part of a group's generations that skipped it."""
    frequency = np.mean([~trace.computed for trace in members], axis=0)
    axes.bar(np.arange(len(frequency)), frequency, width=0.86, color=colour)
    count = f", {len(members)} generations" if len(members) > 1 else ""
    axes.set(title=f"Skip frequency: {label}{count}", ylim=(0, 1.04), yticks=(0, 0.5, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _compute_ratio(axes: Axes, groups: Groups, theme: Theme) -> None:
    """Up to each step, the part of the steps that ran: the group's mean, least and most."""
    for (label, members), colour in zip(groups.items(), theme.lines, strict=False):
        ran = np.array([trace.computed for trace in members])
        steps = np.arange(ran.shape[1])
        so_far = ran.cumsum(axis=1) / (steps + 1)
        axes.fill_between(steps, so_far.min(0), so_far.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            steps, so_far.mean(0), color=colour, linewidth=1.8, label=f"{label}: {so_far.mean(0)[-1]:.0%}"
        )
    axes.set(title="Compute ratio up to the step", ylim=(0, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(
        loc="best", frameon=True, framealpha=0.85, edgecolor="none", alignment="left", title_fontsize=8.5,
        title="mean at the end" + ("; shaded: least to most" if len(groups) < _count(groups) else ""),
    )  # fmt: skip


def _count(groups: Groups) -> int:
    return sum(len(members) for members in groups.values())


def _row_name(name: str) -> str:
    """A file's name cut in the middle: names of one folder differ at both ends."""
    name = plain(name)
    return name if len(name) <= 26 else f"{name[:14]}…{name[-11:]}"
